import fc from 'fast-check'
import { expect, test } from 'vitest'
import { memoryTable, type TableFault } from '../support/memory-table.ts'
import { dies, sealedPartition, takePartition } from '../support/sealed-partition.ts'

const record = fc.oneof(
  { weight: 12, arbitrary: fc.constant('row') },
  { weight: 2, arbitrary: fc.constant('wide') },
  { weight: 1, arbitrary: fc.constant('bad') },
  { weight: 1, arbitrary: fc.constant('misfit') },
)
const fault = fc.constantFrom<TableFault>('ok', 'ok', 'ok', 'landed', 'absent', 'token-only', 'running')
const world = fc.record({
  log: fc.array(record, { minLength: 1, maxLength: 60 }),
  refused: fc.array(fc.nat(59), { maxLength: 2 }),
  faults: fc.array(fault, { maxLength: 60 }),
  /** After how many requests each owner dies; then one lives. */
  lives: fc.array(fc.integer({ min: 0, max: 25 }), { maxLength: 12 }),
  rows: fc.integer({ min: 1, max: 9 }),
  batchRows: fc.integer({ min: 1, max: 7 }),
})

test('whatever dies and whatever answer is lost: each record is one row, or one dead letter', async () => {
  await fc.assert(
    fc.asyncProperty(world, async ({ log, refused, faults, lives, rows, batchRows }) => {
      const partition = sealedPartition(log)
      const waiting = [...faults]
      const table = memoryTable({
        fault: (what) => (what === 'insert' ? (waiting.shift() ?? 'ok') : 'ok'),
        refuses: (offset) => refused.includes(offset),
      })
      for (const life of [...lives, Number.POSITIVE_INFINITY]) {
        let left = life
        const step = (what: string): void => {
          left -= 1
          if (left < 0) throw dies(what)
        }
        const owner = takePartition(partition, { table, step, limits: { maxRows: rows }, batchRows })
        owner.feed()
        let over = false
        const ended = owner.lane.ended.then(
          () => null,
          (error: unknown) => error,
        )
        void ended.then(() => {
          over = true
        })
        while (!over && owner.landed() < log.length) await new Promise(setImmediate)
        owner.lane.finish()
        expect((await ended) ?? dies('')).toMatchObject({ code: 'killed' })
      }
      table.settle()
      const stored = table.rows.map(({ offset }) => offset).sort((a, b) => a - b)
      const letters = [...partition.letters].sort((a, b) => a - b)
      const bad = (value: string, offset: number): boolean =>
        value === 'bad' || value === 'misfit' || refused.includes(offset)
      expect(stored).toEqual(log.flatMap((value, offset) => (bad(value, offset) ? [] : [offset])))
      expect(letters).toEqual(log.flatMap((value, offset) => (bad(value, offset) ? [offset] : [])))
      expect(partition.committed.offset).toBe(log.length)
      expect(partition.committed.metadata).not.toContain('pend')
    }),
    { numRuns: 400 },
  )
})
