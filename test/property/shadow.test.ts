import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ScoredRows, Work } from '../../inference/batching/micro-batcher.ts'
import type { ServedVersion } from '../../inference/rollout/routes.ts'
import { createShadowQueue } from '../../inference/rollout/shadow/shadow-queue.ts'
import { rowsInShare, type ShadowRows } from '../../inference/rollout/shadow/shadow-rows.ts'
import { retryable } from '../../infra/runtime/errors.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { eventually } from '../support/eventually.ts'
import { FLIGHTS } from '../support/processing.ts'
import { vectorOf } from '../support/scoring.ts'
import { alone, columnsOf, shadowing } from '../support/shadowing.ts'

const flights = await loadPipeline(FLIGHTS)
const manifest = readModelManifest(`${FLIGHTS}/models/1`)
const width = manifest.input.features.length
const MOST_ROWS = 12
const lane = columnsOf(
  Array.from({ length: MOST_ROWS }, (_, index) => {
    const first = index % 4 === 3 ? Number.POSITIVE_INFINITY : index
    return vectorOf(manifest.featureSet.digest, [first, ...Array<number>(width - 1).fill(1)], index)
  }),
  [],
  0,
)

/** What a version does with what it is asked. */
const deed = fc.constantFrom('answers', 'fails', 'answers badly', 'refuses', 'throws', 'hangs')

function answered({ rows }: Work, how: 'answers' | 'fails' | 'answers badly'): ScoredRows {
  const count = rows.length / width
  const part = { from: 0, to: count, batchRows: new Int32Array(count), provider: 'cpu', scoredAt: 1, rowMs: 0 } as const
  const outputs = new Float32Array(count * manifest.output.width).fill(how === 'answers badly' ? Number.NaN : 0.5)
  const failure = { reason: 'model_timeout', message: 'it took too long' } as const
  return { outputs, failures: new Map(how === 'fails' ? [[0, failure]] : []), parts: [part] }
}

function versionThat(deeds: readonly string[]): ServedVersion {
  let turn = 0
  const submit = (work: Work): Promise<ScoredRows> => {
    const how = deeds[turn++ % deeds.length]
    switch (how) {
      case 'hangs':
        return new Promise(() => {})
      case 'throws':
        throw new Error('nobody understands it')
      case 'refuses':
        return Promise.reject(retryable('model_unavailable', 'no executor'))
      default:
        return Promise.resolve(answered(work, how as 'answers'))
    }
  }
  return { manifest, width, batcher: { pending: 0, submit } }
}

const step = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: MOST_ROWS }).map((rows) => ({ rows })) },
  { weight: 1, arbitrary: fc.constant('turn' as const) },
)

test('whatever a shadow does: nobody waits, memory is bounded, and each row of its share is counted once', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 40 }),
      fc.array(deed, { minLength: 1, maxLength: 6 }),
      fc.array(fc.boolean(), { minLength: 1, maxLength: 4 }),
      fc.record({ maxRows: fc.integer({ min: 4, max: 60 }), maxBytes: fc.integer({ min: 2_000, max: 30_000 }) }),
      fc.integer({ min: 0, max: 10_000 }),
      fc.boolean(),
      async (steps, deeds, writes, limits, weight, isLoaded) => {
        let written = 0
        const shadow = shadowing(flights.model, {
          limits,
          clock: { now: Date.now, monotonic: () => 0, sleep: async () => {} },
          hold: (version) => (isLoaded ? { version, release: () => {} } : null),
          writer: {
            async write() {
              if (writes[written++ % writes.length] === true) throw retryable('broker_down', 'no answer')
              return []
            },
          },
        })
        const version = versionThat(deeds)
        let offered = 0
        for (const next of steps) {
          if (next === 'turn') {
            await new Promise((resolve) => setImmediate(resolve))
            continue
          }
          const vectors = { ...lane.vectors, length: next.rows }
          const share = { version, weight, seed: 7 }
          shadow.taker.offer({ ...alone(version), shadow: share }, 0, vectors)
          offered += rowsInShare(share, vectors).length
          expect(offered - shadow.ended()).toBeLessThanOrEqual(limits.maxRows)
        }
        await shadow.stop()
        await eventually(() => expect(shadow.ended()).toBe(offered), { deadlineMs: 30_000 })
      },
    ),
    { numRuns: 150 },
  )
})

test('what waits and is in work stays within its limits, and the oldest goes first', () => {
  const version = versionThat(['hangs'])
  const rows = fc.record({ length: fc.integer({ min: 1, max: 10 }), bytes: fc.integer({ min: 1, max: 100 }) })
  const action = fc.oneof(rows, fc.constantFrom('take', 'done'))
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      const limits = { maxRows: 40, maxBytes: 400 }
      const queue = createShadowQueue(limits)
      const inWork: ShadowRows[] = []
      let newest = -1
      let oldestLeft = -1
      for (const [at, next] of actions.entries()) {
        if (next === 'take') {
          const taken = queue.take()
          if (taken === null) continue
          expect(taken.partition).toBeGreaterThan(newest)
          newest = taken.partition
          inWork.push(taken)
        } else if (next === 'done') {
          const first = inWork.shift()
          if (first !== undefined) queue.done(first)
        } else {
          const { vectors } = lane
          const { keys, values, features } = vectors
          const dropped = queue.push({ version, partition: at, keys, values, features, width, ...next })
          for (const one of dropped) {
            expect(one.partition).toBeGreaterThan(Math.max(newest, oldestLeft))
            oldestLeft = one.partition
          }
        }
        expect(queue.rows).toBeLessThanOrEqual(limits.maxRows)
        expect(queue.bytes).toBeLessThanOrEqual(limits.maxBytes)
        expect(inWork.length === 0 || queue.rows > 0).toBe(true)
      }
      for (const each of inWork) queue.done(each)
      queue.clear()
      expect([queue.rows, queue.bytes]).toEqual([0, 0])
    }),
  )
})
