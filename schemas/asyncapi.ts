import { REPLAY_OF_HEADER, TENANT_HEADER, TRACEPARENT_HEADER } from './headers.ts'
import type { AvroSchema, CompiledPipeline } from './pipeline/compiled.ts'
import {
  pipelineTopics,
  type StageTopic,
  stageTopic,
  type TopicDeclaration,
  type TopicKey,
  valueSubject,
} from './topics.ts'

/** Our own contracts that the topics of a pipeline hold. */
export interface TopicContracts {
  readonly featureVector: AvroSchema
  readonly prediction: AvroSchema
  readonly deadLetter: AvroSchema
}

type Json = Readonly<Record<string, unknown>>

/** What a topic holds, and whether the pipeline reads it or writes it. */
interface Content {
  readonly id: string
  readonly message: string
  readonly about: string
  readonly action: 'send' | 'receive'
  readonly schema: AvroSchema
  readonly subject: string
  readonly headers: Json | null
}

const AVRO = 'application/vnd.apache.avro+json;version=1.9.0'
const BINDING_VERSION = '0.5.0'
const KEYS: Readonly<Record<TopicKey, string>> = {
  'event-key': "The event's entity key.",
  'event-id': 'The id of the event that the label is the truth of.',
  'table-key': "The row's key.",
  stage: 'The stage.',
  pipeline: 'The pipeline.',
  subject: 'What the entry is about.',
}

/**
 * The AsyncAPI 3.0 document of a pipeline's topics: what producers write and consumers read, in Kafka itself. Names no broker.
 * The application that it describes is the pipeline: it receives events, labels and rows of tables, and sends the rest.
 */
export function asyncApi(pipeline: CompiledPipeline, contracts: TopicContracts, version: string): Json {
  const contents = contentsOf(pipeline, contracts)
  const found = topicsOf(pipeline).map((topic) => ({ topic, content: contents.get(topic.name) as Content }))
  return {
    asyncapi: '3.0.0',
    info: {
      title: `Millrace: topics of ${pipeline.name}`,
      version,
      description:
        'Values are Avro in the Confluent wire format (a zero byte, the schema id as a big-endian int32, the record), ' +
        'their schemas in the registry under `<topic>-value`. A record keeps its partition number from events to predictions.',
    },
    defaultContentType: 'avro/binary',
    channels: Object.fromEntries(found.map(({ topic, content }) => [content.id, channelOf(topic, content)])),
    operations: Object.fromEntries(
      found.map(({ content: { id, action, message } }) => [
        `${action}-${id}`,
        { action, channel: ref('channels', id), messages: [{ $ref: `#/channels/${id}/messages/${message}` }] },
      ]),
    ),
    components: {
      messages: Object.fromEntries(found.map(({ topic, content }) => [content.id, messageOf(topic, content)])),
    },
  }
}

function contentsOf(pipeline: CompiledPipeline, contracts: TopicContracts): ReadonlyMap<string, Content> {
  const { name, event, tables, label } = pipeline
  const ours = (id: StageTopic, message: string, about: string, schema: AvroSchema): readonly [string, Content] => {
    const topic = stageTopic(name, id)
    return [topic, { id, message, about, action: 'send', schema, subject: valueSubject(topic), headers: null }]
  }
  return new Map([
    ours('features', 'features', 'What the model sees of each event.', contracts.featureVector),
    ours('predictions', 'prediction', "Each event's prediction, exactly once.", contracts.prediction),
    ours(
      'shadow',
      'shadowPrediction',
      'What a version in shadow would have predicted; best effort.',
      contracts.prediction,
    ),
    ours(
      'dead-letters',
      'deadLetter',
      'Records that ended without a prediction, or without a row.',
      contracts.deadLetter,
    ),
    ...tables.map(({ name: table, topic, schema, subject }) =>
      theirs(topic, {
        ...{ id: table, message: 'row', schema, subject, headers: null },
        about: `Rows of the lookup table ${table}: of each key the latest counts.`,
      }),
    ),
    ...(label === null
      ? []
      : [
          theirs(label.topic, {
            ...{ id: 'labels', message: 'label', schema: label.schema, subject: label.subject },
            about: 'What was true in the end.',
            headers: headersOf(pipeline, []),
          }),
        ]),
    theirs(event.topic, {
      ...{ id: 'events', message: 'event', schema: event.schema, subject: event.subject },
      about: 'What is to be predicted about.',
      headers: headersOf(pipeline, [TRACEPARENT_HEADER, REPLAY_OF_HEADER]),
    }),
  ])
}

/** What others write and the pipeline reads. */
function theirs(topic: string, content: Omit<Content, 'action'>): readonly [string, Content] {
  return [topic, { ...content, action: 'receive' }]
}

const HEADERS: Readonly<Record<string, string>> = {
  [TENANT_HEADER]: 'Whose it is. Counts where the gateway alone may write the topic.',
  [TRACEPARENT_HEADER]: 'W3C trace context; goes on to the prediction.',
  [REPLAY_OF_HEADER]: 'The dead letter that this event replays, as `<topic>-<partition>-<offset>`.',
}

/** Null when there is none to be named. */
function headersOf({ event }: CompiledPipeline, names: readonly string[]): Json | null {
  const all = 'from' in event.tenant ? [TENANT_HEADER, ...names] : names
  if (all.length === 0) return null
  const properties = Object.fromEntries(all.map((name) => [name, { type: 'string', description: HEADERS[name] }]))
  return { type: 'object', properties, ...('from' in event.tenant ? { required: [TENANT_HEADER] } : {}) }
}

function channelOf(topic: TopicDeclaration, { id, message, about }: Content): Json {
  const configuration = {
    'cleanup.policy': [topic.cleanup],
    'retention.ms': topic.retentionMs,
    'max.message.bytes': topic.maxMessageBytes,
  }
  return {
    address: topic.name,
    description: about,
    messages: { [message]: ref('components/messages', id) },
    bindings: {
      kafka: {
        topic: topic.name,
        // the settings of somebody else's topic are not ours to tell
        ...(topic.owned ? { topicConfiguration: configuration } : {}),
        bindingVersion: BINDING_VERSION,
      },
    },
  }
}

function messageOf(topic: TopicDeclaration, { message, about, schema, subject, headers }: Content): Json {
  return {
    name: message,
    summary: about,
    contentType: 'avro/binary',
    ...(headers === null ? {} : { headers }),
    payload: { schemaFormat: AVRO, schema },
    bindings: {
      kafka: {
        key: { type: 'string', description: KEYS[topic.key] },
        schemaIdLocation: 'payload',
        schemaIdPayloadEncoding: 'confluent',
        schemaLookupStrategy: subject === valueSubject(topic.name) ? 'TopicIdStrategy' : 'RecordIdStrategy',
        bindingVersion: BINDING_VERSION,
      },
    },
  }
}

const ref = (place: string, id: string): Json => ({ $ref: `#/${place}/${id}` })

function topicsOf({ name, event, tables, label }: CompiledPipeline): readonly TopicDeclaration[] {
  const { topic, owned, retentionMs } = event
  return pipelineTopics({
    name,
    event: { topic, owned, ...(retentionMs === null ? {} : { retentionMs }) },
    tables: tables.map((table) => table.name),
    hasLabel: label !== null,
  })
}
