/**
 * 2. A pipeline
 *
 * A pipeline is a definition plus its Avro schemas. `compilePipeline` checks them against each other and gives the one form
 * that stages see: features in the model's order, and a digest of what they mean.
 */
import { expect, test } from 'vitest'
import { featureSetOf } from '../../schemas/pipeline/feature-set.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { pipelineTopics } from '../../schemas/topics.ts'
import { FLIGHTS, ORDERS } from '../support/pipeline-copy.ts'

test('2.1 features keep the order in which they are written, and a category carries its vocabulary', async () => {
  const { features } = await loadPipeline(ORDERS)
  expect(features.map(({ name }) => name).slice(0, 4)).toEqual(['amount', 'items', 'customer_days', 'channel'])
  expect(features[3]?.type).toEqual({ type: 'category', values: ['WEB', 'STORE', 'PHONE'] })
})

test('2.2 the digest changes with order, type and vocabulary: a model is used for nothing but its own feature set', async () => {
  const { featureSet } = await loadPipeline(ORDERS)
  const swapped = [...featureSet.features].reverse()
  expect(featureSetOf(swapped).digest).not.toBe(featureSet.digest)
})

test('2.3 topics follow from the pipeline: each behind those that its readers write, which is the order in which partitions are added', async () => {
  const { name, event, tables, label } = await loadPipeline(FLIGHTS)
  const topics = pipelineTopics({
    name,
    event: { topic: event.topic, owned: event.owned },
    tables: tables.map((table) => table.name),
    hasLabel: label !== null,
  })
  expect(topics.map((topic) => topic.name)).toEqual([
    'flights.dead-letters',
    'flights.predictions',
    'flights.shadow',
    'flights.features',
    'flights.labels',
    'flights.weather',
    'flights.events',
  ])
})
