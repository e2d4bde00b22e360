import { TENANT_HEADER } from '../../../schemas/headers.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { createAvroReader } from '../../runtime/avro/avro-reader.ts'
import type { SchemaRegistry } from '../../runtime/avro/schema-registry.ts'
import type { ClickHouseClient } from '../../runtime/clickhouse/clickhouse-client.ts'
import { systemClock } from '../../runtime/clock.ts'
import type { LogReader } from '../../runtime/kafka/log-reader.ts'
import { sliceAt } from '../../runtime/kafka/record-batches/columns.ts'
import { headerAt } from '../../runtime/kafka/record-batches/record-headers.ts'

/** Labels read at once. */
const CHUNK = 500
/** Of the ids of one query, as they are written in its URL: Node's servers take 16 KiB of headers, and proxies less. */
const MOST_URL_BYTES = 6_000
/** Quotes and comma of an id, escaped. */
const ID_OVERHEAD = 9

interface Label {
  readonly offset: number
  readonly tenant: string
  readonly eventId: string
  readonly writtenAt: number
}

interface LatestLabel {
  readonly tenant: string
  readonly event_id: string
  readonly at: string
  readonly kafka_offset: string
}

/**
 * Of labels without a row (ascending), those whose event has a later label in the table: of several, ClickHouse keeps the last.
 * Answers their offsets.
 */
export async function supersededLabels(
  deps: { readonly reader: LogReader; readonly registry: SchemaRegistry; readonly clickhouse: ClickHouseClient },
  pipeline: CompiledPipeline,
  partition: number,
  offsets: Iterable<number>,
): Promise<readonly number[]> {
  const superseded: number[] = []
  for (const chunk of chunksOf(offsets)) {
    const labels = await readLabels(deps, pipeline, partition, chunk)
    const latest = new Map<string, LatestLabel>()
    for (const ids of portionsOf(labels.map(({ eventId }) => eventId))) {
      const rows = await deps.clickhouse.rows<LatestLabel>(
        `SELECT tenant, event_id, toUnixTimestamp64Milli(written_at) AS at, kafka_offset FROM labels FINAL
         WHERE pipeline = {pipeline:String} AND event_id IN {ids:Array(String)}`,
        { pipeline: pipeline.name, ids },
      )
      for (const row of rows) latest.set(`${row.tenant}\n${row.event_id}`, row)
    }
    for (const { offset, tenant, eventId, writtenAt } of labels) {
      const row = latest.get(`${tenant}\n${eventId}`)
      if (row === undefined) continue
      const isLater = Number(row.at) > writtenAt || (Number(row.at) === writtenAt && Number(row.kafka_offset) > offset)
      if (isLater) superseded.push(offset)
    }
  }
  return superseded
}

async function readLabels(
  { reader, registry }: { readonly reader: LogReader; readonly registry: SchemaRegistry },
  { label, event }: CompiledPipeline,
  partition: number,
  offsets: readonly number[],
): Promise<readonly Label[]> {
  const [first] = offsets
  const last = offsets.at(-1)
  if (label === null || first === undefined || last === undefined) return []
  const wanted = new Set(offsets)
  const avro = createAvroReader<Readonly<Record<string, unknown>>>({
    schema: label.schema,
    name: 'label',
    registry,
    clock: systemClock,
    unknownSchemaWaitMs: 0,
  })
  const header = Buffer.from(TENANT_HEADER)
  const labels: Label[] = []
  for await (const set of reader.read(label.topic, partition, first, last + 1, { isolation: 'read_committed' })) {
    for (let row = 0; row < set.length; row++) {
      const offset = set.offsets[row] as number
      const value = sliceAt(set.values, row)
      if (!wanted.has(offset)) continue
      await avro.prepare([value])
      const decoded = avro.decode(value)
      if (!decoded.ok) continue
      const tenant = 'fixed' in event.tenant ? event.tenant.fixed : (headerAt(set, row, header)?.toString() ?? '')
      const eventId = String(decoded.record[label.idField])
      labels.push({ offset, tenant, eventId, writtenAt: set.timestamps[row] as number })
    }
  }
  return labels
}

/** The ids in portions that fit into a URL; one that fits into none is alone. */
export function* portionsOf(ids: readonly string[]): Generator<readonly string[]> {
  let portion: string[] = []
  let bytes = 0
  for (const id of ids) {
    const more = encodeURIComponent(id).length + ID_OVERHEAD
    if (portion.length > 0 && bytes + more > MOST_URL_BYTES) {
      yield portion
      portion = []
      bytes = 0
    }
    portion.push(id)
    bytes += more
  }
  if (portion.length > 0) yield portion
}

function* chunksOf(offsets: Iterable<number>): Generator<readonly number[]> {
  let chunk: number[] = []
  for (const offset of offsets) {
    chunk.push(offset)
    if (chunk.length < CHUNK) continue
    yield chunk
    chunk = []
  }
  if (chunk.length > 0) yield chunk
}
