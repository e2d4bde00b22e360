import fc from 'fast-check'
import { expect, test } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import type { ControlRecord } from '../../infra/runtime/control/control-log.ts'
import { type ControlLogFeed, createControlLog } from '../../infra/runtime/control/create-control-log.ts'
import { sealEntry } from '../../infra/runtime/control/seal-entry.ts'
import { describeError, retryable } from '../../infra/runtime/errors.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { ControlEntry } from '../../schemas/generated/records.ts'

// Several processes write and read one log in every order that a broker allows; some writes end without an answer, and
// somebody else writes what he should not.

const SUBJECTS = ['a', 'b', 'c']

/** What a change says, so that its place in the history can be checked. */
interface Said {
  readonly id: string
  readonly basedOn: number | null
}

interface Process {
  readonly feed: ControlLogFeed
  readonly history: ControlRecord[]
  position: number
}

const plan = fc.record({
  /** Per process: the subjects that it changes, one after the other. */
  writers: fc.array(fc.array(fc.constantFrom(...SUBJECTS), { minLength: 1, maxLength: 5 }), {
    minLength: 2,
    maxLength: 4,
  }),
  /** Of the n-th write: answered, or not answered with or without effect. */
  outcomes: fc.array(fc.constantFrom('answered', 'answered', 'answered', 'stored', 'lost'), { maxLength: 30 }),
  /** What is put in front of the n-th write. */
  garbage: fc.array(fc.constantFrom('none', 'none', 'unreadable', 'copy', 'forged', 'unchained', 'ahead'), {
    maxLength: 30,
  }),
})

function garbageEntry(kind: string, log: readonly (ControlEntry | null)[], judge: ControlLogFeed): ControlEntry | null {
  const base = { kind: 'rollout', name: 'a', value: '"garbage"', actor: 'x', reason: '', at: 1 }
  const previous_hash = log.at(-1)?.hash ?? ''
  const base_revision = judge.log.revision
  if (kind === 'copy') return log.at(-1) ?? null
  if (kind === 'forged') return { ...sealEntry({ ...base, base_revision, previous_hash }), actor: 'y' }
  if (kind === 'unchained') return sealEntry({ ...base, base_revision, previous_hash: 'nothing' })
  if (kind === 'ahead') return sealEntry({ ...base, base_revision: base_revision + 3, previous_hash })
  return null
}

test('all readers agree, no accepted change is lost, one of two changes of a subject wins', async () => {
  let effective = 0
  let conflicts = 0
  await fc.assert(
    fc.asyncProperty(plan, fc.scheduler(), async ({ writers, outcomes, garbage }, scheduler) => {
      const log: (ControlEntry | null)[] = []
      const judge = createControlLog({ write: async () => 0, clock: systemClock, logger: silentLogger })
      const store = (entry: ControlEntry | null): number => {
        judge.read(log.length, entry)
        return log.push(entry) - 1
      }
      let writes = 0

      async function write(entry: ControlEntry): Promise<number> {
        const number = writes++
        await scheduler.schedule(Promise.resolve(), 'sent')
        const dirt = garbage[number] ?? 'none'
        if (dirt !== 'none') store(garbageEntry(dirt, log, judge))
        const outcome = outcomes[number] ?? 'answered'
        const offset = outcome === 'lost' ? -1 : store(entry)
        await scheduler.schedule(Promise.resolve(), 'answered')
        if (outcome !== 'answered') throw retryable('kafka_unavailable', 'no answer')
        return offset
      }

      const processes = writers.map((): Process => {
        const feed = createControlLog({ write, clock: systemClock, logger: silentLogger })
        const history: ControlRecord[] = []
        feed.log.watch((record) => history.push(record))
        return { feed, history, position: 0 }
      })
      const readOne = (process: Process): void => {
        if (process.position >= log.length) return
        const offset = process.position++
        process.feed.read(offset, log[offset] ?? null)
      }
      let isOver = false
      for (const process of processes) {
        void (async () => {
          while (!isOver) {
            await scheduler.schedule(Promise.resolve(), 'read')
            readOne(process)
          }
        })()
      }

      const accepted: ControlRecord[] = []
      const refused: string[] = []
      await scheduler.waitFor(
        Promise.all(
          writers.map(async (subjects, at) => {
            const { log } = (processes[at] as Process).feed
            for (const [nth, name] of subjects.entries()) {
              const basedOn = log.latest('rollout', name)?.revision ?? null
              const value: Said = { id: `${at}.${nth}`, basedOn }
              await log.append({ kind: 'rollout', name, basedOn, value, actor: `${at}`, reason: 'test' }).then(
                (record) => accepted.push(record),
                (error: unknown) => refused.push(describeError(error).code),
              )
            }
          }),
        ),
      )
      isOver = true
      await scheduler.waitAll()
      for (const process of processes) while (process.position < log.length) readOne(process)

      const [first, ...others] = processes as [Process, ...Process[]]
      for (const other of others) expect(other.history).toEqual(first.history)
      expect(first.history.map(({ revision }) => revision)).toEqual(first.history.map((_, at) => at + 1))
      for (const record of accepted) expect(first.history[record.revision - 1]).toEqual(record)
      expect(refused.filter((code) => code !== 'control_conflict' && code !== 'kafka_unavailable')).toEqual([])
      expect(first.history.length).toBeLessThanOrEqual(accepted.length + refused.length)
      const latest = new Map<string, number>()
      for (const { name, revision, value } of first.history) {
        expect((value as Said).basedOn).toBe(latest.get(name) ?? null)
        latest.set(name, revision)
      }
      const ids = first.history.map(({ value }) => (value as Said).id)
      expect(new Set(ids).size).toBe(ids.length)
      effective += first.history.length
      conflicts += refused.filter((code) => code === 'control_conflict').length
    }),
    { numRuns: 300 },
  )
  expect(effective).toBeGreaterThan(500)
  expect(conflicts).toBeGreaterThan(50)
})
