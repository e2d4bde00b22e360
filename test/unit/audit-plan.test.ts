import { expect, test } from 'vitest'
import { planLanes } from '../../infra/cli/audit/plan.ts'
import type { KafkaAdmin } from '../../infra/runtime/kafka/kafka-admin.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { type LoggedRecord, memoryLog } from '../support/memory-log.ts'
import { FLIGHTS } from '../support/pipeline-copy.ts'

const pipeline = await loadPipeline(FLIGHTS)
const MINUTE = 60_000
const NOW = 1_000 * MINUTE

/** One lane: a record a minute at offsets [start, end) of each log, the record's minute being its offset. */
function plan(
  logs: Readonly<Record<string, readonly [start: number, end: number]>>,
  window: { from?: number; to?: number } = {},
) {
  const minutes = ([start, end]: readonly [number, number]): LoggedRecord[] =>
    Array.from({ length: end - start }, (_, at) => ({ offset: start + at, timestamp: (start + at) * MINUTE }))
  const of = (topic: string): readonly [number, number] => logs[topic] ?? [0, 0]
  const reader = memoryLog(
    new Map(Object.entries(logs).map(([topic, range]) => [`flights.${topic}/0`, minutes(range)])),
    (log) => of(log.replace(/^flights\.(.*)\/0$/, '$1'))[0],
  )
  const admin: Pick<KafkaAdmin, 'partitionCounts' | 'committed' | 'offsetsAt' | 'topicConfig'> = {
    partitionCounts: async (topics) => new Map(topics.map((topic) => [topic, 1])),
    committed: async () => new Map([[0, 7]]),
    topicConfig: async () => new Map([['retention.ms', String(100 * MINUTE)]]),
    async offsetsAt(topic, time) {
      const [start, end] = of(topic.replace('flights.', ''))
      return new Map([[0, Math.min(end, Math.max(start, Math.ceil(time / MINUTE)))]])
    },
  }
  const { from = null, to = null } = window
  return planLanes({ admin: admin as KafkaAdmin, reader, now: NOW }, pipeline, { from, to })
}

test('with everything retained all events are audited', async () => {
  const [lane] = await plan({
    events: [0, 50],
    features: [0, 50],
    predictions: [0, 50],
    'dead-letters': [0, 3],
    labels: [0, 9],
  })
  expect(lane).toMatchObject({
    events: { from: 0, to: 50 },
    limitedBy: null,
    predictions: { from: 0, to: 50 },
    storedLabels: { from: 0, to: 9 },
    committed: { processors: 7, inference: 7, predictions: 7, labels: 7 },
  })
})

test('events whose ends may have been deleted are left out, and the topic is named', async () => {
  const [byPredictions] = await plan({ events: [0, 50], predictions: [20, 50] })
  expect(byPredictions).toMatchObject({ events: { from: 21, to: 50 }, limitedBy: 'flights.predictions' })
  const [byLetters] = await plan({ events: [0, 50], predictions: [20, 50], 'dead-letters': [30, 31] })
  expect(byLetters).toMatchObject({ events: { from: 31, to: 50 }, limitedBy: 'flights.dead-letters' })
})

test('an emptied topic keeps what its retention says', async () => {
  const [lane] = await plan({ events: [850, 1_000], predictions: [850, 1_000], 'dead-letters': [3, 3] })
  // letters from minute 900 on would still be there
  expect(lane).toMatchObject({ events: { from: 901, to: 1_000 }, limitedBy: 'flights.dead-letters' })
})

test('a window narrows the events; their ends are looked for from a little before it to the end', async () => {
  const window = { from: 10 * MINUTE, to: 20 * MINUTE }
  const [lane] = await plan({ events: [0, 50], features: [0, 50], predictions: [0, 50], labels: [0, 50] }, window)
  expect(lane).toMatchObject({
    events: { from: 10, to: 20 },
    features: { from: 9, to: 50 },
    predictions: { from: 9, to: 50 },
    storedPredictions: { from: 10, to: 20 },
    storedLabels: { from: 10, to: 20 },
  })
})
