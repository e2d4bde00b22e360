import { expect, inject, test } from 'vitest'
import { avroBodies } from '../support/avro-bodies.ts'
import { eventually } from '../support/eventually.ts'
import { startTestGateway, type TestGateway } from '../support/gateway.ts'
import { flightEvent } from '../support/gateway-events.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { readTopic } from '../support/read-topic.ts'
import { type RunningPipeline, runPipeline } from '../support/running-pipeline.ts'
import { openTcpGate } from '../support/tcp-gate.ts'

const { env } = inject('stack')
const BROKERS = env['KAFKA_BROKERS'] ?? ''
const JSON_TYPE = 'application/json'

interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: Record<string, unknown>
}

interface Setup {
  readonly run: RunningPipeline
  readonly gateway: TestGateway
  readonly key: string
  ask(
    path: string,
    init?: { key?: string; headers?: Record<string, string>; body?: unknown; type?: string },
  ): Promise<Answer>
}

async function setUp(
  options: { edit?: (source: string) => string; env?: Record<string, string>; stages?: boolean } = {},
): Promise<Setup> {
  const { folder } = copyPipeline(FLIGHTS, options.edit)
  const run = await runPipeline(folder, env, { start: false })
  const gateway = await startTestGateway(folder, { ...env, ...options.env })
  const key = await gateway.key()
  if (options.stages === true) for (const stage of ['processors', 'inference', 'sinks'] as const) run.startStage(stage)
  const ask: Setup['ask'] = async (path, { key: given = key, headers = {}, body, type = JSON_TYPE } = {}) => {
    const response = await fetch(`${gateway.url}${path.replace('{p}', run.pipeline.name)}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: {
        authorization: `Bearer ${given}`,
        ...(body === undefined ? {} : { 'content-type': type }),
        ...headers,
      },
      ...(body === undefined
        ? {}
        : { body: typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body) }),
    })
    return { status: response.status, headers: response.headers, body: (await response.json()) as Answer['body'] }
  }
  return { run, gateway, key, ask }
}

const EVENTS = '/v1/pipelines/{p}/events'
const PREDICT = '/v1/pipelines/{p}/predict'

/** By method and path, as the gateway documents them. */
async function routesWithCredential({ ask }: Setup): Promise<string[]> {
  type Paths = Readonly<Record<string, Readonly<Record<string, { readonly security?: readonly object[] }>>>>
  const paths = (await ask('/openapi.json')).body['paths'] as Paths
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, { security = [] }]) =>
      security.length > 0 ? [`${method.toUpperCase()} ${path}`] : [],
    ),
  )
}

const eventsOf = ({ run }: Setup) =>
  readTopic<{ event_id: string }>(BROKERS, run.pipeline.event.topic, run.pipeline.event.schema)

async function deadRedis(): Promise<string> {
  const gate = await openTcpGate({ host: '127.0.0.1', port: 1 })
  await gate.close()
  return `redis://127.0.0.1:${gate.port}`
}

test('events in every format are in Kafka when they are answered', async () => {
  const setup = await setUp()
  const { ask, run } = setup
  const one = await ask(EVENTS, {
    body: flightEvent('json'),
    headers: { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01` },
  })
  expect([one.status, one.body]).toEqual([202, { event_id: 'json', repeated: false, request_id: expect.any(String) }])
  const requestId = String(one.body['request_id'])
  expect(requestId).toMatch(new RegExp(`^${run.pipeline.name}\\.\\d{8}\\.\\d\\.\\d+$`))
  expect(one.headers.get('location')).toBe(`/v1/predictions/${requestId}`)

  const bodies = avroBodies(run.pipeline.event.schema)
  const several = {
    accepted: 2,
    refused: 0,
    results: [
      { index: 0, status: 'accepted' },
      { index: 1, event_id: expect.any(String) },
    ],
  }
  const array = await ask(EVENTS, { body: [flightEvent('array-0'), flightEvent('array-1')] })
  expect(array).toMatchObject({ status: 202, body: several })
  const lines = [flightEvent('line-0'), flightEvent('line-1')].map((event) => JSON.stringify(event)).join('\n')
  expect(await ask(EVENTS, { body: lines, type: 'application/x-ndjson' })).toMatchObject({ status: 202, body: several })
  const container = bodies.container([flightEvent('file-0'), flightEvent('file-1')])
  expect(await ask(EVENTS, { body: container, type: 'application/avro' })).toMatchObject({ status: 202, body: several })
  const object = await ask(EVENTS, {
    body: bodies.singleObject(flightEvent('object')),
    type: 'application/vnd.millrace.avro',
  })
  expect(object).toMatchObject({ status: 202, body: { event_id: 'object' } })

  const records = await eventsOf(setup)
  expect(records.map(({ value }) => value.event_id).toSorted()).toEqual(
    ['array-0', 'array-1', 'file-0', 'file-1', 'json', 'line-0', 'line-1', 'object'].toSorted(),
  )
  const [first] = records.filter(({ value }) => value.event_id === 'json')
  expect(first).toMatchObject({ key: 'N14228', headers: { traceparent: expect.stringContaining('00-aaaa') } })
  // the topic's tenant is fixed: nobody may say another
  expect(first?.headers).not.toHaveProperty('millrace-tenant')
  expect(requestId.endsWith(`.${first?.partition}.${first?.offset}`)).toBe(true)
})

test('what cannot be an event is refused by index and field, and the others are accepted', async () => {
  const setup = await setUp()
  const { ask } = setup
  const wrong = { ...flightEvent('wrong'), flight: 'many' }
  const some = await ask(EVENTS, { body: [flightEvent('right'), wrong] })
  expect(some).toMatchObject({ status: 207, body: { accepted: 1, refused: 1 } })
  expect(some.body['results']).toMatchObject([
    { index: 0, status: 'accepted', event_id: 'right' },
    { index: 1, status: 'refused', problem: { pointer: '/flight' } },
  ])
  const none = await ask(EVENTS, { body: [wrong, wrong] })
  expect(none).toMatchObject({
    status: 400,
    body: { code: 'invalid_events', errors: [{ index: 0, pointer: '/flight' }, { index: 1 }] },
  })
  expect(none.headers.get('content-type')).toMatch(/^application\/problem\+json/)
  expect(await ask(EVENTS, { body: wrong })).toMatchObject({
    status: 400,
    body: { errors: [{ index: 0, pointer: '/flight' }] },
  })
  expect(await ask(EVENTS, { body: 'no JSON' })).toMatchObject({ status: 400 })
  expect(await ask(EVENTS, { body: 'text', type: 'text/plain' })).toMatchObject({ status: 415 })
  expect((await eventsOf(setup)).map(({ value }) => value.event_id)).toEqual(['right'])
})

test('a request that comes again with its idempotency key is answered again and changes nothing', async () => {
  const setup = await setUp()
  const { ask } = setup
  const headers = { 'idempotency-key': 'order 1' }
  const first = await ask(EVENTS, { body: flightEvent(), headers })
  expect(first).toMatchObject({ status: 202, body: { event_id: 'order 1', repeated: false } })
  const again = await ask(EVENTS, { body: flightEvent(), headers })
  expect(again).toMatchObject({ status: 202, body: { ...first.body, repeated: true } })
  expect([first, again].map((answer) => answer.headers.get('idempotent-replayed'))).toEqual([null, 'true'])
  const other = await ask(EVENTS, { body: { ...flightEvent(), flight: 7 }, headers })
  expect(other).toMatchObject({ status: 422, body: { code: 'idempotency_key_reused' } })
  const pair = { body: [flightEvent(), flightEvent()], headers: { 'idempotency-key': 'pair' } }
  expect((await ask(EVENTS, pair)).body['results']).toMatchObject([{ event_id: 'pair.0' }, { event_id: 'pair.1' }])
  expect((await ask(EVENTS, pair)).body['results']).toMatchObject([{ repeated: true }, { repeated: true }])
  expect(await eventsOf(setup)).toHaveLength(3)
})

test('without Redis a repetition goes to the partition of the first, also without a key', async () => {
  const setup = await setUp({ env: { REDIS_URL: await deadRedis() } })
  const { ask } = setup
  for (let nth = 0; nth < 10; nth++) {
    const request = { body: { ...flightEvent(), tailnum: null }, headers: { 'idempotency-key': `request-${nth}` } }
    for (const repeated of [false, false])
      expect(await ask(EVENTS, request)).toMatchObject({ status: 202, body: { repeated } })
  }
  const records = await eventsOf(setup)
  const places = Map.groupBy(records, ({ value }) => value.event_id)
  expect(places.size).toBe(10)
  for (const [, [first, second, ...more]] of places) {
    expect([first?.key, second?.partition, more]).toEqual([null, first?.partition, []])
  }
  expect(new Set(records.map(({ partition }) => partition)).size).toBeGreaterThan(1)
})

test('whose an event is, the credential says', async () => {
  const fixed = await setUp()
  const stranger = await fixed.gateway.key('stranger')
  const { request_id: id } = (await fixed.ask(EVENTS, { body: flightEvent('mine') })).body
  const inputs = [{ name: 'carrier', shape: [1], datatype: 'BYTES', data: ['UA'] }]
  const theirs: Readonly<Record<string, { body?: unknown }>> = {
    'POST /v1/pipelines/{pipeline}/events': { body: flightEvent('theirs') },
    'POST /v1/pipelines/{pipeline}/predict': { body: flightEvent('theirs') },
    'POST /v1/pipelines/{pipeline}/labels': { body: { event_id: 'mine', arr_delay: 3, arrived_at: 1_357_040_000_000 } },
    'GET /v1/pipelines/{pipeline}': {},
    'GET /v1/pipelines/{pipeline}/predictions/stream': {},
    'GET /v1/predictions/{request_id}': {},
    'GET /v2/models/{model}': {},
    'POST /v2/models/{model}/infer': { body: { inputs } },
    'GET /asyncapi.json': {},
  }
  expect(Object.keys(theirs).sort()).toEqual((await routesWithCredential(fixed)).sort())
  for (const [route, init] of Object.entries(theirs)) {
    const path = route
      .replace(/^\S+ /, '')
      .replace(/\{(pipeline|model)\}/, '{p}')
      .replace('{request_id}', String(id))
    expect((await fixed.ask(path, { ...init, key: stranger })).status, route).toBe(404)
  }
  expect(await eventsOf(fixed)).toHaveLength(1)
  expect((await fixed.ask('/v1/pipelines/another/events', { body: flightEvent('x') })).status).toBe(404)
  const reader = await fixed.gateway.key('default', ['read'])
  expect(await fixed.ask(EVENTS, { body: flightEvent('x'), key: reader })).toMatchObject({
    status: 403,
    body: { code: 'missing_scope' },
  })
  expect((await fixed.ask('/v1/pipelines/{p}', { key: reader })).body).toMatchObject({ event: { id: 'event_id' } })

  const shared = await setUp({
    edit: (source) => source.replace("segment: 'origin' }", "segment: 'origin', tenant: { header: true } }"),
  })
  const acme = await shared.gateway.key('acme')
  await shared.ask(EVENTS, { body: flightEvent('a'), key: acme, headers: { 'millrace-tenant': 'default' } })
  expect(await eventsOf(shared)).toMatchObject([{ headers: { 'millrace-tenant': 'acme' } }])
})

test('predictions: waited for, asked for, rejected, late; labels are stored', { timeout: 400_000 }, async () => {
  const { ask, run } = await setUp({ stages: true })
  const predicted = await eventually(
    async () => {
      const answer = await ask(PREDICT, { body: flightEvent(), headers: { prefer: 'wait=20' } })
      expect(answer.status).toBe(200)
      return answer
    },
    { deadlineMs: 120_000 },
  )
  const { prediction, request_id: id } = predicted.body as {
    prediction: { score: number; event_id: string }
    request_id: string
  }
  expect(prediction.score).toBeGreaterThan(0)
  expect(predicted.headers.get('preference-applied')).toBe('wait=20')
  expect(predicted.headers.get('millrace-model')).toBe('flight-delay')
  expect(predicted.headers.get('millrace-degraded')).toBe('true')
  const asked = await ask(`/v1/predictions/${id}`)
  expect(asked).toMatchObject({ status: 200, body: { state: 'predicted', prediction } })
  expect(asked.headers.get('millrace-model-digest')).toMatch(/^[0-9a-f]{64}$/)

  const far = { body: { ...flightEvent('far'), distance: 9_999 } }
  const rejected = await ask(PREDICT, { ...far, headers: { prefer: 'wait=20' } })
  expect(rejected).toMatchObject({ status: 422, body: { code: 'rejected', reason: 'distance_out_of_range' } })
  const ended = await ask(`/v1/predictions/${rejected.body['request_id']}`)
  expect(ended).toMatchObject({ status: 200, body: { state: 'rejected', reason: 'distance_out_of_range' } })
  const both = await ask(PREDICT, {
    body: [flightEvent('near'), { ...flightEvent('off'), distance: -1 }],
    headers: { prefer: 'wait=20' },
  })
  expect(both).toMatchObject({ status: 207, body: { results: [{ state: 'predicted' }, { state: 'rejected' }] } })

  // nobody has predicted it by then
  await run.stage('processors').stop()
  const late = await ask(PREDICT, { body: flightEvent('late'), headers: { prefer: 'wait=0' } })
  expect(late).toMatchObject({ status: 202, body: { state: 'pending', event_id: 'late' } })
  expect(late.headers.get('retry-after')).toBe('1')
  run.stage('processors').start()
  await eventually(
    async () =>
      expect(await ask(late.headers.get('location') ?? '')).toMatchObject({
        status: 200,
        body: { state: 'predicted' },
      }),
    { deadlineMs: 60_000 },
  )
  expect(await ask(`/v1/predictions/${run.pipeline.name}.20130101.0.1`)).toMatchObject({ status: 404 })
  expect(await ask('/v1/predictions/nonsense')).toMatchObject({ status: 404 })

  const label = { event_id: prediction.event_id, arr_delay: 31, arrived_at: 1_357_040_000_000 }
  expect(await ask('/v1/pipelines/{p}/labels', { body: label })).toMatchObject({
    status: 202,
    body: { event_id: prediction.event_id },
  })
  await eventually(
    async () =>
      expect(
        await run.clickhouse.rows(
          'SELECT event_id, toFloat64(value) AS value FROM labels FINAL WHERE pipeline = {p:String}',
          {
            p: run.pipeline.name,
          },
        ),
      ).toEqual([{ event_id: prediction.event_id, value: 1 }]),
    { deadlineMs: 60_000 },
  )
})
