/**
 * `npm run bench:handlers`: CPU per event of the parts of a fused hop that need no broker, on recorded batches of flights.
 * The last line is one JSON object.
 */
import { join } from 'node:path'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import type { SchemaRegistry } from '../runtime/avro/schema-registry.ts'
import { laneBatch } from '../runtime/kafka/consumer/lane-batch.ts'
import { type OpenOutcome, openOutcome } from '../runtime/kafka/outcome.ts'
import { slicesOf } from '../runtime/kafka/record-batches/columns.ts'
import { decodeRecordSet, type RecordSet } from '../runtime/kafka/record-batches/decode-record-set.ts'
import { encodeBatch } from '../runtime/kafka/record-batches/encode-batch.ts'
import { createFlights } from './flights.ts'
import { fusedHandler } from './fused-handler.ts'

const BATCHES = 64
const ROWS = 1_024
const ROUNDS = 25
const WARM_UP = 5
const EVENT_SCHEMA_ID = 1
const GENERATION = 'b3Vy-2Jlbm-NoLXRvcGlj'
const PRODUCER = { id: 4_000n, epoch: 1, sequence: 0 }

const pipeline = await loadPipeline(join(import.meta.dirname, 'flights'))
const registry: SchemaRegistry = {
  schemaById: async (id) => (id === EVENT_SCHEMA_ID ? pipeline.event.schema : null),
  register: async () => EVENT_SCHEMA_ID,
}
const handler = await fusedHandler({ pipeline, registry, schemaId: 2, maxRows: ROWS, model: false })
const fetched = recordedBatches()

function recordedBatches(): readonly Buffer[] {
  const flights = createFlights(pipeline, EVENT_SCHEMA_ID)
  return Array.from({ length: BATCHES }, () => {
    const rows = Array.from({ length: ROWS }, () => flights.next())
    return encodeBatch(
      {
        length: ROWS,
        timestamps: Date.UTC(2026, 0, 1),
        keys: slicesOf(rows.map(({ key }) => key)),
        values: slicesOf(rows.map(({ value }) => value)),
        headers: null,
      },
      { producer: PRODUCER },
    )
  })
}

const decode = (bytes: Buffer): RecordSet =>
  decodeRecordSet(bytes, { from: 0, highWatermark: ROWS, aborted: [], maxDecompressedBytes: 2 ** 26 })

const source = { topic: pipeline.event.topic, partition: 0, generation: GENERATION }
const opened = (set: RecordSet): OpenOutcome => openOutcome(laneBatch(source, set, 0, set.length, 0), ['predictions'])

/** µs of CPU per event, all threads. */
async function measure(work: () => unknown): Promise<number> {
  const before = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / (BATCHES * ROWS)
}

const parts: Record<'decode' | 'handle' | 'encode', number[]> = { decode: [], handle: [], encode: [] }
let bytesOut = 0
for (let round = 0; round < ROUNDS + WARM_UP; round++) {
  const sets: RecordSet[] = []
  parts.decode.push(await measure(() => sets.push(...fetched.map(decode))))
  const outcomes = sets.map(opened)
  parts.handle.push(
    await measure(async () => {
      for (const outcome of outcomes) await handler.handle([outcome])
    }),
  )
  bytesOut = 0
  parts.encode.push(
    await measure(() => {
      for (const outcome of outcomes) {
        const [rows] = outcome.seal().columns.get('predictions') ?? []
        if (rows?.length !== ROWS) throw new Error(`${rows?.length} predictions for ${ROWS} events`)
        bytesOut += encodeBatch(
          { ...rows, timestamps: Date.now(), headers: null },
          { producer: PRODUCER, compression: 'none' },
        ).length
      }
    }),
  )
}

const figures: Record<string, number> = {}
for (const [part, us] of Object.entries(parts)) {
  const sorted = us.slice(WARM_UP).toSorted((a, b) => a - b)
  const median = sorted[Math.floor(ROUNDS / 2)] ?? Number.NaN
  figures[`${part}_us`] = Number(median.toFixed(3))
  print(
    `${part.padEnd(8)} ${median.toFixed(3)} µs CPU per event (${sorted[0]?.toFixed(3)} to ${sorted.at(-1)?.toFixed(3)})`,
  )
}
print(
  JSON.stringify({
    bench: 'handlers',
    rows: ROWS,
    node: process.version,
    ...figures,
    bytes_out: Math.round(bytesOut / (BATCHES * ROWS)),
  }),
)

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
