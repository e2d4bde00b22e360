import { expect, test } from 'vitest'
import { retryable } from '../../infra/runtime/errors.ts'
import { SET_BY_HAND } from '../../infra/runtime/kafka/consumer/lane-source.ts'
import { decodeMetadata, encodeMetadata } from '../../sinks/clickhouse/sealed/pend.ts'
import { eventually } from '../support/eventually.ts'
import { memoryTable } from '../support/memory-table.ts'
import { dies, sealedPartition, takePartition } from '../support/sealed-partition.ts'

const rows = (count: number): string[] => Array.from({ length: count }, () => 'row')
const soon = { deadlineMs: 30_000 }
const offsetsOf = (table: { rows: readonly { offset: number }[] }): number[] => table.rows.map(({ offset }) => offset)

test('each chunk is announced before its insert, and the next announcement acknowledges it', async () => {
  const partition = sealedPartition(rows(10))
  const committed: string[] = []
  const table = memoryTable({
    fault() {
      const { pend } = decodeMetadata(partition.committed.metadata, partition.committed.offset)
      committed.push(`${pend?.a}-${pend?.b}`)
      return 'ok'
    },
  })
  const owner = takePartition(partition, { table })
  owner.feed()
  await eventually(() => expect(owner.landed()).toBe(10), soon)
  expect(committed).toEqual(['0-4', '4-8', '8-10'])
  expect(owner.passed).toEqual([4, 8, 10])
  owner.lane.finish()
  await owner.lane.ended
  expect(partition.committed).toEqual({ offset: 10, metadata: '{"v":1,"mark":"mark"}' })
  expect(table.inserts.map(({ token }) => token.split('/').slice(0, 4).join('/'))).toEqual(
    ['0-4', '4-8', '8-10'].map((range) => `memory/id/0/${range}`),
  )
})

test('a batch is settled only once all its records have landed', async () => {
  const partition = sealedPartition(rows(5))
  const owner = takePartition(partition, {
    table: memoryTable(),
    batchRows: 5,
    limits: { lingerMs: 60_000 },
    clock: {
      now: () => 0,
      monotonic: () => 0,
      sleep: (_, signal) => new Promise((resolve) => signal?.addEventListener('abort', () => resolve())),
    },
  })
  owner.feed()
  await eventually(() => expect(partition.committed.offset).toBe(0), soon)
  expect(owner.settled).toEqual([])
  owner.lane.hurry()
  await eventually(() => expect(owner.settled).toEqual([5]), soon)
  await owner.lane.end()
})

test('what is announced and not acknowledged is made again by the next owner, with the same bounds whatever its limits', async () => {
  const partition = sealedPartition(rows(9))
  const table = memoryTable()
  const first = takePartition(partition, {
    table,
    step: (what) => {
      if (what === 'after insert') throw dies(what)
    },
  })
  first.feed()
  await expect(first.lane.ended).rejects.toMatchObject({ code: 'killed' })
  expect(decodeMetadata(partition.committed.metadata, 0).pend).toMatchObject({ a: 0, b: 4, rows: 4, attempt: 0 })

  const second = takePartition(partition, { table, limits: { maxRows: 100 } })
  second.feed()
  await eventually(() => expect(second.landed()).toBe(9), soon)
  expect(table.inserts.map((insert) => insert.rows)).toEqual([4, 5])
  expect(offsetsOf(table)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8])
  second.lane.finish()
  await second.lane.ended
})

test('once the partition is not ours, nothing more is sent', async () => {
  const partition = sealedPartition(rows(4))
  const table = memoryTable()
  const owner = takePartition(partition, {
    table,
    step(what) {
      if (what === 'after commit') owner.lose()
    },
  })
  owner.feed()
  await owner.lane.ended
  expect(table.inserts).toEqual([])
  expect(owner.lane.metadata(4)).toBeNull()
})

test('ClickHouse away at the end: the chunk stays announced, and what is out goes back', async () => {
  const partition = sealedPartition(rows(7))
  const owner = takePartition(partition, { table: memoryTable({ fault: () => 'absent' }) })
  owner.feed()
  await eventually(() => expect(decodeMetadata(partition.committed.metadata, 0).pend).not.toBeNull(), soon)
  owner.lane.finish()
  await owner.lane.ended
  expect(owner.settled).toEqual([3, 6, 7])
  expect(decodeMetadata(partition.committed.metadata, partition.committed.offset).pend).toMatchObject({ a: 0, b: 4 })
})

test('a record that cannot be stored has one dead letter, also when the write has to be claimed again', async () => {
  const partition = sealedPartition(['row', 'bad', 'row', 'misfit'])
  let failures = 1
  const retries: string[] = []
  const owner = takePartition(partition, {
    table: memoryTable({ refuses: (offset) => offset === 2 }),
    step(what) {
      if (what === 'after letters' && failures-- > 0) throw retryable('outcome_unknown', what)
    },
    observer: { retrying: ({ code }) => void retries.push(code) },
  })
  owner.feed()
  await eventually(() => expect(owner.landed()).toBe(4), soon)
  expect(partition.letters).toEqual([1, 2, 3])
  expect(retries).toEqual(['outcome_unknown'])
  owner.lane.finish()
  await owner.lane.ended
})

test.each([
  ['bad', 'foreign_record'],
  ['misfit', 'dead_letter_unstorable'],
])('where nothing may become a dead letter, %s stops the partition in front of it: %s', async (value, code) => {
  const partition = sealedPartition(['row', 'row', value, 'row'])
  const table = memoryTable()
  const stopped: { code: string; message: string }[] = []
  const observer = { stopped: (lane: { code: string; message: string }) => void stopped.push(lane) }
  const owner = takePartition(partition, { table, observer, mayReject: false })
  owner.feed()
  await eventually(() => expect(stopped).toMatchObject([{ code }]), soon)
  expect(stopped[0]?.message).toContain('go on at 3')
  expect(offsetsOf(table)).toEqual([0, 1])
  expect(partition.committed.offset).toBe(2)
  expect([owner.lane.metadata(4), owner.lane.workingForMs()]).toEqual([null, 0])
  owner.lane.finish()
  await owner.lane.ended
})

test('a row that ClickHouse refuses stops it too, once the others are stored', async () => {
  const partition = sealedPartition(rows(4))
  const table = memoryTable({ refuses: (offset) => offset === 1 })
  const stopped: string[] = []
  const owner = takePartition(partition, {
    table,
    mayReject: false,
    observer: { stopped: ({ code }) => void stopped.push(code) },
  })
  owner.feed()
  await eventually(() => expect(stopped).toEqual(['dead_letter_unstorable']), soon)
  expect(offsetsOf(table)).toEqual([0, 2, 3])
  owner.lane.finish()
  await owner.lane.ended
})

test('asked to move while it waits for the rest of an announced chunk, a lane gives back what is out and keeps the announcement', async () => {
  const partition = sealedPartition(rows(9))
  const table = memoryTable()
  const first = takePartition(partition, {
    table,
    step(what) {
      if (what === 'before insert') throw dies(what)
    },
  })
  first.feed()
  await expect(first.lane.ended).rejects.toMatchObject({ code: 'killed' })

  const second = takePartition(partition, { table })
  second.feed(3)
  second.lane.drain()
  await eventually(() => expect(second.rewound).toEqual([0]), soon)
  expect([second.settled, second.lane.metadata(0)]).toEqual([[], null])
  expect(decodeMetadata(partition.committed.metadata, 0).pend).toMatchObject({ a: 0, b: 4 })
  // it stays after all
  second.feed()
  await eventually(() => expect(second.landed()).toBe(9), soon)
  expect(offsetsOf(table)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8])
  second.lane.finish()
  await second.lane.ended
})

test('asked to move while ClickHouse is away, a lane gives back what is out; its chunk lands once', async () => {
  const partition = sealedPartition(rows(4))
  let away = true
  const table = memoryTable({ fault: (what) => (away ? (what === 'insert' ? 'landed' : 'absent') : 'ok') })
  const retries: string[] = []
  const owner = takePartition(partition, { table, observer: { retrying: ({ code }) => void retries.push(code) } })
  owner.feed()
  await eventually(() => expect(retries.length).toBeGreaterThan(1), soon)
  owner.lane.drain()
  await eventually(() => expect(owner.rewound).toEqual([0]), soon)
  expect([owner.settled, owner.lane.workingForMs()]).toEqual([[], 0])
  away = false
  owner.feed()
  await eventually(() => expect(owner.landed()).toBe(4), soon)
  expect(offsetsOf(table)).toEqual([0, 1, 2, 3])
  await owner.lane.end()
})

test('behind a position that was set by hand nothing is stored twice, also by the next owner', async () => {
  const partition = sealedPartition(rows(12))
  const table = memoryTable()
  const before = takePartition(partition, { table })
  before.feed(6)
  await eventually(() => expect(before.landed()).toBe(6), soon)
  before.lose()
  partition.committed = { offset: 1, metadata: SET_BY_HAND }

  let inserts = 2
  const dying = takePartition(partition, {
    table,
    readBackBelow: 6,
    limits: { maxRows: 2 },
    step(what) {
      if (what === 'before commit' && inserts-- === 0) throw dies(what)
    },
  })
  dying.feed()
  await expect(dying.lane.ended).rejects.toMatchObject({ code: 'killed' })
  const { offset, metadata } = partition.committed
  expect([offset, decodeMetadata(metadata, offset).readBackBelow]).toEqual([3, 6])
  const last = takePartition(partition, { table })
  last.feed()
  await eventually(() => expect(last.landed()).toBe(12), soon)
  expect(offsetsOf(table).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 12 }, (_, at) => at))
  last.lane.finish()
  await last.lane.ended
  expect(partition.committed).toEqual({ offset: 12, metadata: '{"v":1,"mark":"mark"}' })
})

test('an insert that is refused by what stands behind the table has its rows stored once, and no dead letters', async () => {
  const partition = sealedPartition(rows(4))
  const table = memoryTable({ fault: (what) => (what === 'insert' ? 'half-way' : 'ok') })
  const owner = takePartition(partition, { table })
  owner.feed()
  await eventually(() => expect(owner.landed()).toBe(4), soon)
  expect([offsetsOf(table), partition.letters]).toEqual([[0, 1, 2, 3], []])
  await owner.lane.end()
})

test('the letter of lost records is claimed again before it is tried again, and written once', async () => {
  const partition = sealedPartition(rows(4))
  let failures = 1
  const claims: string[] = []
  const owner = takePartition(partition, {
    table: memoryTable(),
    step(what) {
      if (what === 'claim again') claims.push(what)
      if (what === 'before lost letter' && failures-- > 0) throw retryable('lane_closed', what)
    },
  })
  const range = { partition: 0, from: 0, to: 2 }
  await expect(owner.lane.skipLost(range)).rejects.toMatchObject({ code: 'lane_closed', fate: 'retry' })
  await owner.lane.skipLost(range)
  expect([claims, partition.letters]).toEqual([['claim again'], [-1]])
  owner.lose()
  await expect(owner.lane.skipLost(range)).rejects.toMatchObject({ code: 'lane_lost', fate: 'retry' })
})

test('an announced chunk is not cut short by a record that may not become a dead letter', async () => {
  const partition = sealedPartition(['row', 'row', 'bad', 'row'])
  const table = memoryTable()
  const pend = { a: 0, b: 4, rows: 4, hash: 'of other code', attempt: 0 }
  partition.committed = { offset: 0, metadata: encodeMetadata({ pend, mark: '', readBackBelow: 0 }) }
  const stopped: string[] = []
  const observer = { stopped: ({ code }: { code: string }) => void stopped.push(code) }
  const owner = takePartition(partition, { table, observer, mayReject: false })
  owner.feed()
  await eventually(() => expect(stopped).toEqual(['foreign_record']), soon)
  expect([offsetsOf(table), decodeMetadata(partition.committed.metadata, 0).pend]).toEqual([[], pend])
  owner.lane.finish()
  await owner.lane.ended
})
