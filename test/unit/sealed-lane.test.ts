import { expect, test } from 'vitest'
import { retryable } from '../../infra/runtime/errors.ts'
import { decodeMetadata } from '../../sinks/clickhouse/sealed/pend.ts'
import { eventually } from '../support/eventually.ts'
import { memoryTable } from '../support/memory-table.ts'
import { dies, sealedPartition, takePartition } from '../support/sealed-partition.ts'

const rows = (count: number): string[] => Array.from({ length: count }, () => 'row')
const soon = { deadlineMs: 5_000 }
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
