import { letterPlaceText } from '../../../schemas/headers.ts'
import type { AvroSchema } from '../../../schemas/pipeline/compiled.ts'
import { parseAvroSchema } from '../../runtime/avro/avro-type.ts'
import type { SchemaRegistry } from '../../runtime/avro/schema-registry.ts'
import { fateOf } from '../../runtime/errors.ts'
import type { StoredLetter } from './read-letters.ts'
import type { ReplayCounts } from './replay.ts'
import { REFUSALS } from './replayable.ts'
import type { ReplayOutcome } from './replays.ts'

/** A letter with the replays of it. */
export interface ShownLetter {
  readonly stored: StoredLetter
  readonly replays: readonly ShownReplay[]
}

export interface ShownReplay {
  /** Offset in `events`, in the letter's partition. */
  readonly offset: number
  /** Null when ClickHouse could not be asked. */
  readonly outcome: ReplayOutcome | null
}

const MAX_SHOWN_BYTES = 512

export function letterLine({ stored, replays }: ShownLetter): string {
  const { partition, offset, appendedAt, letter } = stored
  const last = replays.at(-1)
  return [
    `${partition}/${offset}`.padEnd(12),
    new Date(appendedAt).toISOString(),
    `${letter.stage}/${letter.reason}`.padEnd(34),
    letter.event_id ?? '–',
    ...(letter.tenant === '' ? [] : [`tenant ${letter.tenant}`]),
    ...(last === undefined ? [] : [`replayed: ${outcomeText(last.outcome)}`]),
  ].join('  ')
}

function outcomeText(outcome: ReplayOutcome | null): string {
  if (outcome === null) return 'unknown, ClickHouse does not answer'
  switch (outcome.end) {
    case 'predicted':
      return `predicted ${outcome.score.toFixed(4)}${outcome.label === null ? '' : ` (${outcome.label})`} by version ${outcome.modelVersion}`
    case 'dead-lettered':
      return `dead-lettered again as ${outcome.letter} (${outcome.stage}/${outcome.reason})`
    case 'pending':
      return 'pending'
  }
}

export function countLines(counts: ReplayCounts, dryRun: boolean): readonly string[] {
  const row = (name: string, value: number | string): string => `  ${name.padEnd(18)}${value}`
  return [
    row('matching letters', counts.matched),
    row(dryRun ? 'would be replayed' : 'replayed', counts.replayed),
    ...(counts.replayedBefore === 0
      ? []
      : [row('replayed before', `${counts.replayedBefore} (--again replays them once more)`)]),
    ...(counts.left === 0 ? [] : [row('beyond the limit', counts.left)]),
    ...[...counts.refused].map(([refusal, count]) => row('not replayable', `${count}: ${REFUSALS[refusal]}`)),
  ]
}

/** Everything about a letter, for reading; `value` as `decodeValue` answered it. */
export function letterText({ stored, replays }: ShownLetter, value: unknown): readonly string[] {
  const { letter, partition, appendedAt } = stored
  const row = (name: string, text: string | number): string => `  ${name.padEnd(12)}${text}`
  return [
    `${letterPlaceText(stored)}  ${letter.stage}/${letter.reason}`,
    row('message', letter.message),
    row('kind', letter.kind),
    row('event', letter.event_id ?? 'unknown'),
    row('tenant', letter.tenant === '' ? 'unknown' : letter.tenant),
    row(
      'record',
      `${letter.topic}/${letter.partition} offset ${letter.source_offset} (topic id ${letter.source_generation})`,
    ),
    row(
      'origin',
      letter.origin_offset < 0 ? 'unknown' : `offset ${letter.origin_offset} (topic id ${letter.origin_generation})`,
    ),
    row('written', new Date(appendedAt).toISOString()),
    row('attempts', letter.attempts),
    row('key', letter.key === null ? 'none' : bytesText(letter.key)),
    ...Object.entries(letter.headers).map(([name, bytes]) => row('header', `${name} = ${bytesText(bytes)}`)),
    ...(letter.replay_of === null ? [] : [row('replay of', letter.replay_of)]),
    ...(letter.original_bytes === null
      ? []
      : [
          row('cut', `it was ${letter.original_bytes} bytes; the whole is in ${letter.topic} as long as that keeps it`),
        ]),
    row('schema', letter.schema_id ?? 'none'),
    row('value', typeof value === 'string' ? value : ''),
    ...(typeof value === 'string'
      ? []
      : JSON.stringify(value, null, 2)
          .split('\n')
          .map((line) => `    ${line}`)),
    ...replays.map(({ offset, outcome }) =>
      row('replayed', `as event ${partition}/${offset}: ${outcomeText(outcome)}`),
    ),
  ]
}

/** The value as JSON where the registry has its schema and the bytes fit it, else in hex. */
export async function decodeValue(registry: SchemaRegistry, { letter }: StoredLetter): Promise<unknown> {
  const { value, schema_id: id } = letter
  const schema = id === null ? null : await schemaOf(registry, id)
  if (schema === null || value.length === 0) return bytesText(value, 'hex')
  try {
    const type = parseAvroSchema(schema, `schema ${id}`)
    return JSON.parse(JSON.stringify(type.readerOf(type)(value), asJson)) as unknown
  } catch {
    // the letter may be there just because its bytes cannot be decoded
    return bytesText(value, 'hex')
  }
}

async function schemaOf(registry: SchemaRegistry, id: number): Promise<AvroSchema | null> {
  try {
    return await registry.schemaById(id)
  } catch (error) {
    if (fateOf(error) === 'reject') return null
    throw error
  }
}

function asJson(_: string, value: unknown): unknown {
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value)
  return value
}

/** Text where it is printable, else hex. */
function bytesText(bytes: Buffer, as: 'either' | 'hex' = 'either'): string {
  const shown = bytes.subarray(0, MAX_SHOWN_BYTES)
  const more = bytes.length > MAX_SHOWN_BYTES ? ` … ${bytes.length} bytes in all` : ''
  const text = shown.toString()
  const isPrintable = as === 'either' && /^[\p{L}\p{N}\p{P}\p{S}\p{Zs}]*$/u.test(text) && !text.includes('\ufffd')
  return `${isPrintable ? text : shown.toString('hex')}${more}`
}
