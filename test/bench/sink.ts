/**
 * `npm run bench:sink [-- --rows 4000 --inserts 25 --rounds 7]`: what a prediction costs on its way from its Kafka record into
 * ClickHouse, in the sink's process and in ClickHouse's, by turns in one run:
 *
 *   columns   as the sinks store it: from the record's bytes into columns, the chunk's hash, one insert as Native
 *   text      the sinks' way for other tables: decoded, checked, a line of JSON each, the chunk's hash, one insert
 *   client    a straightforward program: decoded by the same library, objects handed to `@clickhouse/client` as JSONEachRow
 *
 * Starts a ClickHouse of its own on a free port. The last line is one JSON object.
 */
import { spawn } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createClient } from '@clickhouse/client'
import { clickhouse as component } from '../../infra/local/components/clickhouse.ts'
import { freePorts } from '../../infra/local/ports.ts'
import { createAvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { createClickHouse } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import type { ColumnBatch } from '../../infra/runtime/kafka/consumer/column-batch.ts'
import { createSpareMemory } from '../../infra/runtime/spare-memory.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import { migrate, readMigrations } from '../../schemas/clickhouse/migrate.ts'
import type { Prediction } from '../../schemas/generated/records.ts'
import { createNativeTable } from '../../sinks/clickhouse/native/native-rows.ts'
import { predictionRows } from '../../sinks/clickhouse/prediction-rows.ts'
import { rowCheck } from '../../sinks/clickhouse/sealed/check-row.ts'
import { type Chunk, chunkHash, openChunk } from '../../sinks/clickhouse/sealed/chunk.ts'
import { createRecordQueue } from '../../sinks/clickhouse/sealed/record-queue.ts'
import { createSealedStore } from '../../sinks/clickhouse/sealed/sealed-store.ts'
import { eventually } from '../support/eventually.ts'
import { memoryBatch } from '../support/memory-kafka.ts'
import { memoryRegistry } from '../support/memory-registry.ts'
import { predictionOf } from '../support/predictions.ts'

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '4000' },
    inserts: { type: 'string', default: '25' },
    rounds: { type: 'string', default: '7' },
  },
})
const [rows, inserts, rounds] = [Number(values.rows), Number(values.inserts), Number(values.rounds)]
const NOW = Date.UTC(2026, 0, 5)
const FEATURES = 16
const SCHEMA_ID = 1
/** Of `/proc/<pid>/stat`. */
const TICK_US = 10_000

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void
const contract = await readContract('prediction')
const type = parseAvroSchema(contract, 'prediction')
const kind = predictionRows('flights')
const reader = createAvroReader<Prediction>({
  schema: contract,
  name: 'prediction',
  registry: memoryRegistry(new Map([[SCHEMA_ID, contract]])),
  clock: systemClock,
  unknownSchemaWaitMs: 0,
})

/** Kafka records as inference writes them. */
function batchFrom(first: number): ColumnBatch {
  const offsets = Array.from({ length: rows }, (_, at) => first + at)
  const records = offsets.map((offset) => ({
    value: type.encode(SCHEMA_ID, predicted(offset)),
    timestamp: NOW + offset,
  }))
  return memoryBatch({
    topic: 'flights.predictions',
    partition: 0,
    generation: 'cHJlZGljdGlvbnMtdG9waWM',
    offsets,
    records,
  })
}

function predicted(offset: number): Prediction {
  const score = Math.fround(Math.abs(Math.sin(offset)))
  return predictionOf({
    event_id: `20260105-UA-1545-EWR-${offset}`,
    segment: ['EWR', 'JFK', 'LGA'][offset % 3] ?? '',
    event_time: NOW + 37 * offset,
    ingested_at: NOW + offset,
    origin_generation: 'ZXZlbnRzLXRvcGljLWlkLTE',
    origin_offset: offset,
    source_generation: 'ZmVhdHVyZXMtdG9waWMtaWQ',
    source_offset: offset,
    feature_set: '0123456789abcdef0123456789abcdef',
    features: Array.from({ length: FEATURES }, (_, at) => Math.fround(Math.sin(offset * at))),
    traceparent: `00-4bf92f3577b34da6a3ce${String(offset).padStart(12, '0')}-00f067aa0ba902b7-01`,
    model: 'flight-delay',
    model_digest: '5909c242cf046c85915853b110122361a8ba07ef64d4f06be87022a627057305',
    score,
    outputs: [Math.fround(1 - score), score],
    batch_rows: 256,
    scored_at: NOW + offset + 5,
  })
}

const home = await mkdtemp(path.join(tmpdir(), 'millrace-bench-'))
const [port = 0] = await freePorts(1)
const settings = { ports: { clickhouse: port }, dataDir: home } as Parameters<typeof component.prepare>[0]
const { command, args, env } = await component.prepare(settings)
const server = spawn(command, args, { env: { ...process.env, ...env }, stdio: 'ignore' })
try {
  await eventually(() => component.probe(settings), { deadlineMs: 30_000 })
  print(
    JSON.stringify({
      bench: 'sink',
      node: process.version,
      rows,
      inserts,
      rounds,
      features: FEATURES,
      ...(await bench()),
    }),
  )
} finally {
  server.kill('SIGTERM')
  rmSync(home, { recursive: true, force: true })
}

async function bench() {
  const url = component.address(settings)
  const ours = createClickHouse({
    url,
    user: 'default',
    database: 'default',
    requestTimeoutMs: 60_000,
    maxConnections: 2,
  })
  const theirs = createClient({ url })
  await migrate(ours, readMigrations(), Date.now)
  await ours.command('SYSTEM STOP MERGES predictions')
  const spare = createSpareMemory(16 * 1_048_576)
  const queue = createRecordQueue({ reader, check: rowCheck(kind), ended: () => false, mayReject: true })
  const { constants = {}, ...textKind } = kind
  const native = createNativeTable(kind, reader, contract)
  const stores = {
    columns: createSealedStore(ours, 'default', { ...textKind, constants }),
    text: createSealedStore(ours, 'default', textKind),
  }

  // rows come again round by round: only their tokens differ
  let tokens = 0
  const token = (): number => ++tokens

  async function chunkOf(batch: ColumnBatch, by: 'columns' | 'text'): Promise<Chunk> {
    const open = openChunk(
      { maxRows: rows, maxBytes: 134_217_728, lingerMs: 0 },
      null,
      spare,
      by === 'columns' ? native?.begin() : null,
    )
    queue.add(batch)
    await queue.prepare()
    while (!queue.isEmpty()) queue.fill(open, null, 0)
    return open.close(0)
  }

  async function insertChunk(batch: ColumnBatch, by: 'columns' | 'text'): Promise<void> {
    const chunk = await chunkOf(batch, by)
    await stores[by].insert(chunk.body, { lane: 'bench', token: `${by}/${token()}/${chunkHash(chunk)}` })
    spare.give(chunk.memory)
  }

  const ways = {
    columns: (batch: ColumnBatch) => insertChunk(batch, 'columns'),
    text: (batch: ColumnBatch) => insertChunk(batch, 'text'),
    async client(batch: ColumnBatch) {
      const objects = Array.from({ length: batch.length }, (_, index) => {
        const decoded = reader.decode(batch.value(index))
        if (!decoded.ok) throw new Error(decoded.message)
        const result = kind.row(decoded.record, batch, index)
        if (result.kind !== 'row') throw new Error(result.kind)
        return result.row
      })
      await theirs.insert({
        table: 'predictions',
        values: objects,
        format: 'JSONEachRow',
        clickhouse_settings: { async_insert: 0, insert_deduplication_token: `client/${token()}` },
      })
    },
  } as const
  type Way = keyof typeof ways
  const figures: Record<Way, Figures[]> = { columns: [], text: [], client: [] }
  const batches = Array.from({ length: inserts }, (_, at) => batchFrom(at * rows))
  for (let round = -1; round < rounds; round++) {
    for (const way of Object.keys(ways) as Way[]) {
      // what one way has left is not to be cleared away at the cost of the next
      collectGarbage()
      const engine = engineUs()
      const cpu = process.cpuUsage()
      const startedAt = performance.now()
      for (const batch of batches) await ways[way](batch)
      const seconds = (performance.now() - startedAt) / 1_000
      const { user, system } = process.cpuUsage(cpu)
      const stored = rows * inserts
      const count = await ours.rows<{ n: string }>('SELECT count() AS n FROM predictions')
      if (Number(count[0]?.n) !== stored) throw new Error(`${way}: ${count[0]?.n} of ${stored} rows are there`)
      await ours.command('TRUNCATE TABLE predictions')
      // the first round compiles
      if (round < 0) continue
      figures[way].push({
        rows_per_s: stored / seconds,
        client_us: (user + system) / stored,
        engine_us: (engineUs() - engine) / stored,
      })
    }
  }
  await Promise.all([ours.close(), theirs.close()])
  const medians = {
    columns: mediansOf(figures.columns),
    text: mediansOf(figures.text),
    client: mediansOf(figures.client),
  }
  for (const [way, { rows_per_s, client_us, engine_us }] of Object.entries(medians)) {
    print(
      `${way.padEnd(8)} ${client_us} µs of the sink's CPU per row, ${engine_us} of ClickHouse's, ${rows_per_s} rows/s`,
    )
  }
  return { ...medians, client_cpu_ratio: round2(medians.client.client_us / medians.columns.client_us) }
}

interface Figures {
  readonly rows_per_s: number
  readonly client_us: number
  readonly engine_us: number
}

function mediansOf(all: readonly Figures[]): Figures {
  const median = (of: (figures: Figures) => number): number =>
    all.map(of).toSorted((a, b) => a - b)[Math.floor(all.length / 2)] ?? Number.NaN
  return {
    rows_per_s: Math.round(median((figures) => figures.rows_per_s)),
    client_us: round2(median((figures) => figures.client_us)),
    engine_us: round2(median((figures) => figures.engine_us)),
  }
}

function round2(value: number): number {
  return Math.round(value * 100) / 100
}

/** CPU of ClickHouse's process so far, all threads. */
function engineUs(): number {
  const fields = readFileSync(`/proc/${server.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) * TICK_US
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
