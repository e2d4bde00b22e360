import { expect, test } from 'vitest'
import { rejected } from '../../infra/runtime/errors.ts'
import { createSpareMemory } from '../../infra/runtime/spare-memory.ts'
import { rangeCheck } from '../../sinks/clickhouse/column-types.ts'
import type { CheckedRow } from '../../sinks/clickhouse/sealed/check-row.ts'
import { checkDeduplicationWindows } from '../../sinks/clickhouse/sealed/check-windows.ts'
import { type ChunkLimits, chunkHash, openChunk, partOf } from '../../sinks/clickhouse/sealed/chunk.ts'
import { createInsertPace } from '../../sinks/clickhouse/sealed/insert-pace.ts'
import { chunkToken, landChunk, laneName, nextStep } from '../../sinks/clickhouse/sealed/land-chunk.ts'
import { decodeMetadata, encodeMetadata, type Pend } from '../../sinks/clickhouse/sealed/pend.ts'
import { memoryBatch } from '../support/memory-kafka.ts'
import { type MemoryTableOptions, memoryTable, type TableFault } from '../support/memory-table.ts'

const SPARE = createSpareMemory(0)
const LIMITS: ChunkLimits = { maxRows: 3, maxBytes: 1_000, lingerMs: 100 }
const batch = memoryBatch({ topic: 't', partition: 2, offsets: [10, 11, 14, 15, 16, 17] })
const rowAt = (offset: number, change: Partial<CheckedRow> = {}): CheckedRow => ({
  values: { kafka_partition: 2, kafka_offset: offset },
  origin: { tenant: 'main' },
  tablePartition: 0,
  time: null,
  latencyMs: null,
  ...change,
})

function chunkOf(count: number, changes: readonly Partial<CheckedRow>[] = []) {
  const open = openChunk({ ...LIMITS, maxRows: 100 }, null, SPARE)
  for (let index = 0; index < count; index++) {
    open.addRow(batch, index, rowAt(batch.offset(index), changes[index] ?? {}), 0)
  }
  return open.close(10)
}

test('a chunk is full by rows or by bytes, and reaches from where the partition stands to behind its last record', () => {
  const open = openChunk(LIMITS, null, SPARE)
  expect(open.since).toBeNull()
  for (const index of [0, 1]) expect(open.addRow(batch, index, rowAt(batch.offset(index)), 5)).toBe(true)
  expect([open.isFull(), open.since, open.rows]).toEqual([false, 5, 2])
  open.addRejected(batch, 2, { kind: 'unstored', reason: 'undecodable', message: '' }, 6)
  expect(open.isFull()).toBe(true)
  expect(open.close(9)).toMatchObject({ a: 9, b: 15, records: 3, offsets: [10, 11] })

  const small = openChunk({ ...LIMITS, maxBytes: 60 }, null, SPARE)
  expect(small.addRow(batch, 0, rowAt(10), 0)).toBe(true)
  expect(small.addRow(batch, 1, rowAt(11), 0)).toBe(false)
  const { b, body } = small.close(10)
  expect([b, body.toString()]).toEqual([11, `${JSON.stringify(rowAt(10).values)}\n`])
})

test('a single row above the bound is a chunk of its own, and rows of many table partitions do not come together', () => {
  const open = openChunk({ ...LIMITS, maxBytes: 1 }, null, SPARE)
  expect(open.addRow(batch, 0, rowAt(10), 0)).toBe(true)
  expect(open.isFull()).toBe(true)
  const many = openChunk({ ...LIMITS, maxRows: 1_000 }, null, SPARE)
  const wide = memoryBatch({ topic: 't', partition: 0, offsets: Array.from({ length: 20 }, (_, at) => at) })
  const taken = Array.from({ length: 20 }, (_, at) => many.addRow(wide, at, rowAt(at, { tablePartition: at }), 0))
  expect(taken.filter(Boolean)).toHaveLength(16)
})

test('rows lie in one piece of memory, in their order, however often it has to grow', () => {
  const open = openChunk({ ...LIMITS, maxRows: 1_000, maxBytes: 10_000_000 }, null, SPARE)
  const texts = Array.from({ length: 6 }, (_, at) => `${'é'.repeat(30_000 * at)}${at}`)
  const lines = texts.map((text) => JSON.stringify({ text }))
  for (const [index, text] of texts.entries()) open.addRow(batch, index, { ...rowAt(0), values: { text } }, 0)
  const chunk = open.close(10)
  expect(chunk.body.toString()).toBe(lines.map((line) => `${line}\n`).join(''))
  expect(partOf(chunk, [0, 3, 5]).toString()).toBe(`${lines[0]}\n${lines[3]}\n${lines[5]}\n`)
  expect(chunk.memory.length).toBeLessThan(2 * chunk.body.length)
})

test('a chunk that was announced takes its records whatever the limits say, over a gap too', () => {
  const open = openChunk({ ...LIMITS, maxRows: 1 }, 17, SPARE)
  for (let index = 0; index < 4; index++) {
    expect(open.isFull()).toBe(false)
    expect(open.addRow(batch, index, rowAt(batch.offset(index)), 0)).toBe(true)
  }
  open.skipTo(17)
  expect([open.isFull(), open.close(10).b]).toEqual([true, 17])
})

test('metadata comes back as it was committed, within what a broker keeps', () => {
  const pend: Pend = {
    a: 9_007_199_254_740_000,
    b: 9_007_199_254_740_900,
    rows: 500_000,
    hash: 'f'.repeat(32),
    attempt: 3,
  }
  const text = encodeMetadata({ pend, mark: '{"v":1}', readBackBelow: 0 })
  expect(decodeMetadata(text, pend.a)).toEqual({ pend, mark: '{"v":1}', readBackBelow: 0 })
  expect(decodeMetadata(encodeMetadata({ pend: null, mark: '', readBackBelow: 9 }), 4)).toEqual({
    pend: null,
    mark: '',
    readBackBelow: 9,
  })
  expect(decodeMetadata('', 4)).toEqual({ pend: null, mark: '', readBackBelow: 0 })
  expect(text.length).toBeLessThan(500)
})

test.each([
  'x',
  'null',
  '{"v":2,"mark":""}',
  '{"v":1,"mark":"","pend":[1]}',
  encodeMetadata({ pend: { a: 1, b: 2, rows: 1, hash: '', attempt: 0 }, mark: '', readBackBelow: 0 }),
])('metadata %s is not guessed at', (text) => {
  expect(() => decodeMetadata(text, 7)).toThrow(expect.objectContaining({ code: 'metadata_unreadable', fate: 'crash' }))
})

test.each([
  [0, false, 'landed'],
  [0, true, 'landed'],
  [1, false, 'insert'],
  [1, true, 'raise'],
] as const)('with %i rows missing and all inserts answered OK: %s, the next step is %s', (missing, answered, step) => {
  expect(nextStep(missing, answered)).toBe(step)
})

/** Lands a chunk while the first requests go wrong as said. */
async function land(
  count: number,
  faults: readonly TableFault[],
  options: { takenOver?: boolean; changes?: readonly Partial<CheckedRow>[]; hash?: string } & MemoryTableOptions = {},
) {
  const waiting = [...faults]
  const table = memoryTable({ ...options, fault: (what) => (what === 'insert' ? (waiting.shift() ?? 'ok') : 'ok') })
  const chunk = chunkOf(count, options.changes)
  const pend = { a: chunk.a, b: chunk.b, rows: count, hash: options.hash ?? chunkHash(chunk), attempt: 0 }
  const announced: Pend[] = []
  const landed = await landChunk(chunk, pend, options.takenOver ?? false, {
    store: table,
    generation: 'id',
    partition: 2,
    owned: async () => {},
    announce: async (next) => void announced.push(next),
    again: async () => {},
  })
  table.settle()
  return {
    table,
    chunk,
    pend,
    landed,
    announced,
    offsets: table.rows.map(({ offset }) => offset).sort((a, b) => a - b),
  }
}

test('an insert that is answered is all there is to it', async () => {
  const { table, pend, offsets } = await land(4, [])
  expect(offsets).toEqual([10, 11, 14, 15])
  expect(table.inserts).toEqual([{ token: chunkToken(laneName('memory', 'id', 2), pend), rows: 4 }])
})

test.each<[string, TableFault[], number, number]>([
  ['the answer is lost, the rows are there', ['landed'], 1, 0],
  ['nothing came through', ['absent'], 2, 0],
  ['it still runs: it is ended, and sent again', ['running'], 2, 0],
  ['the server was killed between token and rows', ['token-only'], 3, 1],
  ['all of it in turn', ['absent', 'running', 'token-only', 'absent', 'token-only', 'landed'], 0, 1],
])('%s: each row is there once', async (_, faults, inserts, raised) => {
  const { table, offsets, announced, pend } = await land(4, faults)
  expect(offsets).toEqual([10, 11, 14, 15])
  if (inserts > 0) expect(table.inserts).toHaveLength(inserts)
  expect(announced).toEqual(Array.from({ length: raised }, (__, at) => ({ ...pend, attempt: at + 1 })))
})

test('taken over, the chunk is looked for before anything is sent', async () => {
  const chunk = chunkOf(3)
  const { table, offsets } = await land(3, [], { takenOver: true })
  expect([table.inserts.length, offsets]).toEqual([1, chunk.offsets])
})

test('taken over with other rows than were announced, the table decides, under the announced token', async () => {
  const { table, offsets } = await land(3, [], { takenOver: true, hash: 'another' })
  expect(offsets).toEqual([10, 11, 14])
  expect(table.inserts[0]?.token).toContain('/another/')
})

test('rows of several table partitions go by one insert each, and each has its own token', async () => {
  const changes = [{ tablePartition: 1 }, { tablePartition: 2 }, { tablePartition: 1 }]
  const { table, offsets } = await land(3, ['ok', 'absent'], { changes })
  expect(offsets).toEqual([10, 11, 14])
  expect(new Set(table.inserts.map(({ token }) => token)).size).toBe(2)
})

test('a refused row is found by halves, and the others are stored', async () => {
  const { landed, offsets } = await land(6, [], { refuses: (offset) => offset === 15 })
  expect([...landed.refused.keys()]).toEqual([3])
  expect(offsets).toEqual([10, 11, 14, 16, 17])
})

test('a refused row in an outage is still refused alone, and no half lands twice', async () => {
  const faults: TableFault[] = ['ok', 'landed', 'absent', 'token-only', 'running', 'ok', 'token-only']
  const { landed, offsets } = await land(6, faults, { refuses: (offset) => offset === 15 })
  expect([...landed.refused.keys()]).toEqual([3])
  expect(offsets).toEqual([10, 11, 14, 16, 17])
})

test('what nobody understands ends it', async () => {
  const table = memoryTable()
  const chunk = chunkOf(1)
  const landing = {
    store: { ...table, insert: () => Promise.reject(new TypeError('?')) },
    generation: 'id',
    partition: 2,
    owned: async () => {},
    announce: async () => {},
    again: () => Promise.reject(rejected('unused', '')),
  }
  await expect(landChunk(chunk, { a: 0, b: 1, rows: 1, hash: '', attempt: 0 }, false, landing)).rejects.toThrow('?')
})

test('a group makes about ten small inserts a second, shared by partitions; full chunks do not wait', () => {
  let share = 1
  const pace = createInsertPace({ perSecond: 10, share: () => share })
  const insertsIn = (fromMs: number, ms: number): number => {
    let inserts = 0
    for (let now = fromMs; now < fromMs + ms; now++) if (pace.waitMs(now) === 0) inserts += 1
    return inserts
  }
  expect(insertsIn(0, 10_000)).toBe(100)
  share = 0.25
  expect(insertsIn(10_000, 10_000)).toBeLessThanOrEqual(26)
  pace.pass(30_000)
  expect(pace.waitMs(30_000)).toBeGreaterThan(0)
  expect(pace.waitMs(31_000)).toBe(0)
})

test('values that ClickHouse would store as others are named with their column', () => {
  const check = rangeCheck({ a: 'Int32', b: 'UInt64', t: "DateTime64(3, 'UTC')", n: 'Nullable(Int32)', s: 'String' })
  const row = { a: 1, b: 2, t: 0, n: null, s: 'x' }
  expect(check(row)).toBeNull()
  for (const [change, column] of [
    [{ a: 2 ** 31 }, 'a'],
    [{ a: 0.5 }, 'a'],
    [{ b: -1 }, 'b'],
    [{ b: 2 ** 53 }, 'b'],
    [{ t: Date.UTC(2300, 0, 1) }, 't'],
    [{ t: Date.UTC(1899, 11, 31) }, 't'],
    [{ t: Number.NaN }, 't'],
    [{ n: 2 ** 31 }, 'n'],
    [{ a: null }, 'a'],
  ] as const) {
    expect(check({ ...row, ...change })).toMatch(new RegExp(`^${column} does not fit`))
  }
})

test('a replicated table is refused: what a replica lacks would be stored again', async () => {
  const full = 'ReplicatedMergeTree ORDER BY a SETTINGS replicated_deduplication_window = 10000'
  const table = { name: 'marks', engine: 'ReplicatedMergeTree', full, ddl: '', uuid: '', dependents: [] }
  const clickhouse = { rows: async <T>() => [table as T] }
  await expect(checkDeduplicationWindows(clickhouse, 'db', 'marks')).rejects.toMatchObject({
    code: 'replicated_table',
    fate: 'crash',
  })
})
