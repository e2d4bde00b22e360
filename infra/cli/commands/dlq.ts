import { type Command, InvalidArgumentError, Option } from 'commander'
import { letterPlaceText } from '../../../schemas/headers.ts'
import { loadPipeline } from '../../../schemas/pipeline/load.ts'
import { createClickHouse } from '../../runtime/clickhouse/clickhouse-client.ts'
import { systemClock } from '../../runtime/clock.ts'
import { clickHouseConfig } from '../../runtime/config.ts'
import { describeError, fatal, fateOf } from '../../runtime/errors.ts'
import { startKafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import { createIdempotentWriter } from '../../runtime/kafka/producer/idempotent-writer.ts'
import type { RecordWriter } from '../../runtime/kafka/record-writer.ts'
import { silentLogger } from '../../runtime/telemetry/logger.ts'
import { commandConnections, logConnections } from '../connections.ts'
import type { LetterFilter } from '../dlq/filter.ts'
import { createLetterReader } from '../dlq/read-letters.ts'
import { replayLetters } from '../dlq/replay.ts'
import { findLetters, listLetters, type ShowDeps } from '../dlq/show-letters.ts'
import { countLines, decodeValue, letterLine, letterText, type ShownLetter } from '../dlq/text.ts'
import { patiently } from '../patiently.ts'
import { time } from './audit.ts'
import { positive } from './topics.ts'

const QUERY_TIMEOUT_MS = 30_000
/** Of one fetch: a replay reads events one by one. */
const FETCH_BYTES = 262_144
const WRITE_WITHIN_MS = 60_000
const KINDS = ['rejected', 'filtered', 'unstored', 'retention_lost']

export function register(program: Command): void {
  const dlq = program.command('dlq').description('look at dead letters, and replay their events')

  filters(dlq.command('list'))
    .description('count the dead letters of a pipeline, and show the newest')
    .argument('<folder>', 'pipeline folder')
    .option('--limit <n>', 'letters to show', positive, 20)
    .option('--json', 'print one JSON object', false)
    .action(async (folder: string, { limit, json, ...filter }: LetterFilter & { limit: number; json: boolean }) => {
      await withLetters(folder, async (deps) => {
        const { sums, letters } = await listLetters(deps, filter, limit)
        if (json) {
          console.log(JSON.stringify({ counts: sums, letters: letters.map((shown) => jsonOf(shown)) }))
          return
        }
        for (const { stage, reason, kind, count } of sums) {
          console.log(`${String(count).padStart(8)}  ${stage}/${reason}${kind === 'rejected' ? '' : ` (${kind})`}`)
        }
        if (sums.length === 0) console.log('no dead letters match')
        for (const shown of letters) console.log(letterLine(shown))
        warnOf(deps)
      })
    })

  dlq
    .command('show')
    .description('show dead letters whole, with their value decoded and what became of their replays')
    .argument('<folder>', 'pipeline folder')
    .argument('<letter>', 'partition/offset in the dead letter topic, as list shows it, or an event id')
    .option('--json', 'print one JSON object per line', false)
    .action(async (folder: string, letter: string, { json }: { json: boolean }) => {
      await withLetters(folder, async (deps) => {
        const found = await findLetters(deps, letter)
        if (found.length === 0)
          throw fatal('unknown_letter', `no dead letter at or about ${letter} in ${deps.letters.topic}`)
        for (const shown of found) {
          const value = await decodeValue(deps.registry, shown.stored)
          if (json) console.log(JSON.stringify(jsonOf(shown, value)))
          else for (const line of letterText(shown, value)) console.log(line)
        }
      })
    })

  filters(dlq.command('replay'))
    .description('write the events of dead letters to the events topic again, each with a header that names its letter')
    .argument('<folder>', 'pipeline folder')
    .option('--dry-run', 'count, and write nothing', false)
    .option('--again', 'also letters that were replayed before', false)
    .option('--limit <n>', 'replay at most so many', positive)
    .option('--rate <n>', 'events per second (default: as fast as they go)', positive)
    .addHelpText('after', '\nExit code: 0 = every matching letter is replayed, 1 = some cannot be.')
    .action(async (folder: string, options: ReplayCommand) => {
      const { dryRun, again, limit = null, rate = null, ...filter } = options
      await withLetters(folder, async (deps) => {
        const writer = createIdempotentWriter({
          connections: deps.connections,
          clock: systemClock,
          logger: silentLogger,
        })
        try {
          const replaying = { ...deps, writer: patientWriter(writer.value), clock: systemClock }
          const counts = await replayLetters(replaying, { filter, dryRun, again, limit, rate })
          for (const line of countLines(counts, dryRun)) console.log(line)
          warnOf(deps)
          if (counts.refused.size > 0) process.exitCode = 1
        } finally {
          await writer.stop()
        }
      })
    })
}

type ReplayCommand = LetterFilter & { dryRun: boolean; again: boolean; limit?: number; rate?: number }

/** A broker that is busy is asked again; what may have been written is not, or it would be there twice. */
function patientWriter(writer: RecordWriter): RecordWriter {
  const write: RecordWriter['write'] = async (batches) => {
    try {
      return await writer.write(batches)
    } catch (error) {
      if (fateOf(error) !== 'retry' || describeError(error).code === 'kafka_unavailable') throw error
      const { code, message } = describeError(error)
      throw fatal(code, `${message}; start the replay again, it goes on behind what is in the topic`, error)
    }
  }
  return {
    write: (batches) =>
      patiently('writing', () => write(batches), { say: console.error, signal: AbortSignal.timeout(WRITE_WITHIN_MS) }),
  }
}

function filters(command: Command): Command {
  return command
    .option('--reason <code>', 'only letters with this reason')
    .addOption(new Option('--kind <kind>', 'only letters of this kind').choices(KINDS))
    .addOption(
      new Option('--stage <stage>', 'only letters of this stage').choices(['processors', 'inference', 'sinks']),
    )
    .option('--tenant <name>', 'only letters of this tenant')
    .option('--partition <n>', 'only letters in this partition', wholeNumber)
    .option('--id <event id>', 'only letters of this event')
    .option('--from <time>', 'only letters written from then on (ISO 8601)', time)
    .option('--to <time>', 'only letters written before (ISO 8601)', time)
}

async function withLetters(
  folder: string,
  use: (deps: ShowDeps & ReturnType<typeof commandConnections> & ReturnType<typeof logConnections>) => Promise<void>,
): Promise<void> {
  const pipeline = await loadPipeline(folder)
  const commands = commandConnections(process.env)
  const { settings, kafka, registry } = commands
  const logs = logConnections(settings, FETCH_BYTES)
  const clickhouse = createClickHouse(clickHouseConfig(settings, QUERY_TIMEOUT_MS))
  const admin = await startKafkaAdmin(kafka)
  try {
    const { topic } = pipeline.event
    const generation = (await logs.connections.topics([topic])).get(topic)?.id
    if (generation === undefined) throw fatal('unknown_topic', `topic ${topic} does not exist: run millrace topics`)
    const reading = { admin: admin.value, reader: logs.reader, registry }
    const letters = await createLetterReader(reading, pipeline)
    await use({ ...commands, ...logs, pipeline, admin: admin.value, clickhouse, generation, letters })
  } finally {
    await Promise.allSettled([admin.stop(), clickhouse.close(), logs.connections.close()])
  }
}

function warnOf({ letters }: ShowDeps): void {
  if (letters.unreadable() === 0) return
  console.error(`${letters.unreadable()} records of ${letters.topic} are no dead letters: see millrace audit`)
}

/** Bytes as base64; the value also decoded, where it was. */
function jsonOf({ stored: { letter, ...place }, replays }: ShownLetter, value?: unknown): object {
  return {
    place: letterPlaceText(place),
    ...place,
    ...letter,
    key: letter.key?.toString('base64') ?? null,
    value: letter.value.toString('base64'),
    headers: Object.fromEntries(
      Object.entries(letter.headers).map(([name, bytes]) => [name, bytes.toString('base64')]),
    ),
    ...(value === undefined ? {} : { decoded: value }),
    replays,
  }
}

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('must be a whole number.')
  return Number(text)
}
