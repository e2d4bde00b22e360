import { expect, test } from 'vitest'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { readTopicContracts } from '../../infra/runtime/stage-contracts.ts'
import { asyncApi } from '../../schemas/asyncapi.ts'
import type { AvroSchema, CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { ORDERS } from '../support/pipeline-copy.ts'

type Json = Record<string, unknown>

interface Document {
  readonly asyncapi: string
  readonly channels: Record<string, { address: string; messages: Record<string, Json>; bindings: { kafka: Json } }>
  readonly operations: Record<string, { action: string; channel: Json; messages: Json[] }>
  readonly components: {
    readonly messages: Record<string, { headers?: Json; payload: { schemaFormat: string; schema: AvroSchema } }>
  }
}

async function documentOf(pipeline: CompiledPipeline): Promise<Document> {
  // as it is served
  return JSON.parse(JSON.stringify(asyncApi(pipeline, await readTopicContracts(), '1.2.3'))) as Document
}

const flights = await loadPipeline('infra/sample/flights')

/** Every reference in the document, with what is there. */
function references(node: unknown, root: unknown): (readonly [string, unknown])[] {
  if (typeof node !== 'object' || node === null) return []
  if ('$ref' in node && typeof node.$ref === 'string') {
    const parts = node.$ref.split('/').slice(1)
    return [[node.$ref, parts.reduce((at, part) => (at as Json | undefined)?.[part], root as unknown)]]
  }
  return Object.values(node).flatMap((child) => references(child, root))
}

test('every topic of a pipeline is a channel with an operation and an Avro schema; every reference leads somewhere', async () => {
  for (const pipeline of [flights, await loadPipeline(ORDERS)]) {
    const document = await documentOf(pipeline)
    expect(document).toMatchObject({ asyncapi: '3.0.0', info: { version: '1.2.3' }, defaultContentType: 'avro/binary' })
    const found = references(document, document)
    expect(found.length).toBeGreaterThan(10)
    expect(found.filter(([, target]) => target === undefined)).toEqual([])
    for (const id of Object.keys(document.channels)) {
      expect(id).toMatch(/^[A-Za-z0-9_-]+$/)
      const { payload } = document.components.messages[id] ?? expect.fail(id)
      expect(payload.schemaFormat).toBe('application/vnd.apache.avro+json;version=1.9.0')
      parseAvroSchema(payload.schema, id)
    }
    expect(Object.keys(document.operations)).toHaveLength(Object.keys(document.channels).length)
  }
})

test('producers write events, labels and tables; the pipeline writes the rest', async () => {
  const { channels, operations, components } = await documentOf(flights)
  expect(Object.entries(channels).map(([id, { address }]) => [id, address])).toEqual([
    ['dead-letters', 'flights.dead-letters'],
    ['predictions', 'flights.predictions'],
    ['shadow', 'flights.shadow'],
    ['features', 'flights.features'],
    ['labels', 'flights.labels'],
    ['weather', 'flights.weather'],
    ['events', 'flights.events'],
  ])
  expect(Object.values(operations).filter(({ action }) => action === 'receive')).toHaveLength(3)
  expect(components.messages['events']?.payload.schema).toEqual(flights.event.schema)
  expect(channels['weather']?.bindings.kafka).toMatchObject({
    topicConfiguration: { 'cleanup.policy': ['compact'], 'retention.ms': -1 },
  })
})

test('who owns an event is a header where the gateway alone writes; settings of a topic that is not ours are not told', async () => {
  const owned = await documentOf({ ...flights, event: { ...flights.event, tenant: { from: 'header' } } })
  expect(owned.components.messages['events']?.headers).toMatchObject({ required: ['millrace-tenant'] })
  const event = { ...flights.event, topic: 'trips', subject: 'trip', owned: false, tenant: { fixed: 'main' } }
  const foreign = await documentOf({ ...flights, event, label: null })
  expect(foreign.channels['labels']).toBe(undefined)
  expect(foreign.channels['events']).toMatchObject({ address: 'trips' })
  expect(foreign.channels['events']?.bindings.kafka).not.toHaveProperty('topicConfiguration')
  expect(foreign.components.messages['events']).toMatchObject({
    headers: { properties: { traceparent: { type: 'string' } } },
    bindings: { kafka: { schemaLookupStrategy: 'RecordIdStrategy' } },
  })
})
