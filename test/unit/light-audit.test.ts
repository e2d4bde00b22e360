import { expect, test } from 'vitest'
import { createLightAudit, type LightAuditDeps } from '../../sinks/audit/light-audit.ts'

/** One lane of events at offsets 0 to `end`; what is not in `markers` is a record. */
function lane() {
  const state = {
    end: 10,
    markers: new Set<number>(),
    lettersEnd: 0,
    committed: { predictions: 0, letters: 0 },
    lastOrigin: -1,
    ends: [] as { first: number; last: number; predicted: number; letters: number }[],
    looked: [] as string[],
  }
  const deps: LightAuditDeps = {
    pipeline: 'p',
    events: { topic: 'p.events', generation: 'g' },
    predictionsGeneration: 'h',
    admin: {
      ranges: async (topic) => [{ partition: 0, low: 0, high: topic === 'p.events' ? state.end : state.lettersEnd }],
      committed: async (_, topic) =>
        new Map([[0, topic === 'p.predictions' ? state.committed.predictions : state.committed.letters]]),
    },
    log: {
      async *read(_topic, _partition, from, to) {
        state.looked.push(`${from}-${to}`)
        let length = 0
        for (let offset = from; offset < to; offset++) if (!state.markers.has(offset)) length += 1
        yield { length } as never
      },
    },
    clickhouse: {
      rows: async <T>(sql: string) =>
        [...(sql.includes('max(origin_offset)') ? [{ lane: 0, origin: String(state.lastOrigin) }] : state.ends)] as T[],
    },
  }
  return { state, audit: createLightAudit(deps) }
}

test('nothing is looked at before something is stored', async () => {
  const { audit } = lane()
  expect(await audit.check()).toEqual({ predicted: 0, deadLettered: 0, faults: [], lag: 10 })
})

test('a piece is looked at once, when the letters that were written before its last prediction are stored', async () => {
  const { state, audit } = lane()
  Object.assign(state, { committed: { predictions: 4, letters: 1 }, lastOrigin: 4, lettersEnd: 2 })
  state.ends = [{ first: 0, last: 4, predicted: 4, letters: 1 }]
  expect(await audit.check()).toMatchObject({ predicted: 0, lag: 10 })
  // later letters are of later events
  Object.assign(state, { committed: { predictions: 4, letters: 2 }, lettersEnd: 9 })
  expect(await audit.check()).toEqual({ predicted: 4, deadLettered: 1, faults: [], lag: 5 })
  expect(await audit.check()).toEqual({ predicted: 0, deadLettered: 0, faults: [], lag: 5 })
  expect(state.looked).toEqual([])
})

test('a gap counts for as many records as the log has there; a second end is a duplicate', async () => {
  const { state, audit } = lane()
  Object.assign(state, { committed: { predictions: 9, letters: 0 }, lastOrigin: 8, markers: new Set([3]) })
  state.ends = [
    { first: 0, last: 2, predicted: 4, letters: 0 },
    { first: 6, last: 7, predicted: 2, letters: 0 },
  ]
  expect((await audit.check()).faults).toEqual([{ partition: 0, from: 0, to: 9, unaccounted: 3, duplicates: 1 }])
  expect(state.looked).toEqual(['3-6', '8-9'])
})
