import { createRequire } from 'node:module'
import net from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { expect, onTestFinished, test, vi } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import { createKafkaConnections } from '../../infra/runtime/kafka/connections/kafka-connections.ts'
import { createKafkaClient } from '../../infra/runtime/kafka/kafka-client.ts'
import { createLogReader } from '../../infra/runtime/kafka/log-reader.ts'
import type { KafkaRequest } from '../../infra/runtime/kafka/protocol/request.ts'
import { wireReader, wireWriter } from '../../infra/runtime/kafka/protocol/wire.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { eventually } from '../support/eventually.ts'
import { API, type AskedRequest, type FakeAnswer, metadataAnswer } from '../support/fake-broker.ts'
import { type Answer, answeringBroker, connectTo } from '../support/fake-connections.ts'
import { manualClock } from '../support/manual-clock.ts'

const ECHO = 1000
const SOON = { deadlineMs: 30_000 }

function echo(text: string, holdMs?: number): KafkaRequest<string> {
  return {
    apiKey: ECHO,
    apiVersion: 0,
    name: 'Echo',
    body: wireWriter().string(text).end(),
    ...(holdMs === undefined ? {} : { holdMs }),
    decode: (payload) => wireReader(payload, 'Echo').string() ?? '',
  }
}

const isEcho = ({ apiKey }: AskedRequest): boolean => apiKey === ECHO
const textOf = ({ body }: AskedRequest): string => body.toString('utf8', 2)

test('callers at the same time share one connection, and what they send keeps its order', async () => {
  const broker = await answeringBroker()
  const connections = connectTo(broker)
  await connections.topics([])
  const texts = Array.from({ length: 50 }, (_, at) => `text ${at}`)
  const sent = texts.slice(0, 25).map((text) => connections.send(1, 'produce', echo(text)))
  // some while it connects, some after
  await sent[0]
  sent.push(...texts.slice(25).map((text) => connections.send(1, 'produce', echo(text))))
  expect(await Promise.all(sent)).toEqual(texts)
  expect(broker.asked.filter(isEcho).map(textOf)).toEqual(texts)
  // one for what any broker answers, one for the channel
  expect(broker.connections()).toBe(2)
})

test('channels have connections of their own: one that waits stands before no other', async () => {
  const held = Promise.withResolvers<void>()
  const broker = await answeringBroker(async (request) => {
    if (isEcho(request) && textOf(request) === 'join') await held.promise
    return undefined
  })
  const connections = connectTo(broker)
  const join = connections.send(1, 'group', echo('join', 60_000))
  expect(await connections.send(1, 'produce', echo('produce'))).toBe('produce')
  expect(await connections.send(1, 'control', echo('control'))).toBe('control')
  held.resolve()
  expect(await join).toBe('join')
})

test('callers that ask for the same topics at the same time share one request', async () => {
  const broker = await answeringBroker(undefined, [
    { name: 'a', leaders: [1, -1] },
    { name: 'gone', error: 3 },
  ])
  const connections = connectTo(broker)
  expect(connections.leaderOf('a', 0)).toBe(null)
  const [first, second] = await Promise.all([connections.topics(['a', 'gone']), connections.topics(['gone', 'a'])])
  expect(first).toBe(second)
  expect([...first.keys()]).toEqual(['a'])
  expect(first.get('a')?.id).toBe('00010203-0405-0607-0809-0a0b0c0d0e0f')
  expect([0, 1, 2].map((partition) => connections.leaderOf('a', partition))).toEqual([1, null, null])
  expect(broker.asked.filter(({ apiKey }) => apiKey === API.metadata)).toHaveLength(1)
})

test('a connection that is cut in the middle of an answer is thrown away: the next one reads right', async () => {
  let cuts = 0
  const broker = await answeringBroker((request) => {
    if (!isEcho(request) || textOf(request) !== 'text 1') return undefined
    const at = [2, 6, 9][cuts++] ?? 0
    return {
      body: request.body,
      send: (frame, socket) => void socket.end(frame.subarray(0, at)),
    }
  })
  const connections = connectTo(broker)
  for (let tries = 0; tries < 3; tries++) {
    const sent = await Promise.allSettled([1, 2, 3].map((at) => connections.send(1, 'control', echo(`text ${at}`))))
    for (const result of sent) {
      expect(result).toMatchObject({ reason: { code: 'kafka_unavailable', fate: 'retry' } })
    }
  }
  expect(await connections.send(1, 'control', echo('whole'))).toBe('whole')
})

test('answers come in any pieces: byte by byte, and many in one', async () => {
  const frames: Buffer[] = []
  const broker = await answeringBroker((request) => {
    if (!isEcho(request)) return undefined
    const text = textOf(request)
    return {
      body: request.body,
      send(frame, socket) {
        if (text === 'bytes') for (const byte of frame) socket.write(Buffer.from([byte]))
        else frames.push(frame)
        if (text === 'last') socket.write(Buffer.concat(frames))
      },
    }
  })
  const connections = connectTo(broker)
  expect(await connections.send(1, 'control', echo('bytes'))).toBe('bytes')
  const texts = ['one', 'two', 'x'.repeat(20_000), 'last']
  expect(await Promise.all(texts.map((text) => connections.send(1, 'control', echo(text))))).toEqual(texts)
})

test.each<[string, FakeAnswer]>([
  ['ends early', Buffer.from([0])],
  [
    'says that it is two GiB',
    { body: Buffer.alloc(8), send: (_, socket) => void socket.write(Buffer.alloc(12, 0x7f)) },
  ],
  ['has a negative length', { body: Buffer.alloc(8), send: (_, socket) => void socket.write(Buffer.alloc(12, 0xff)) }],
  [
    'answers something else',
    {
      body: Buffer.from([0, 1, 65]),
      send(frame, socket) {
        frame.writeInt32BE(77, 4)
        socket.write(frame)
      },
    },
  ],
])('an answer that %s is an error, and its connection is dropped', async (_, answer) => {
  let broken = true
  const broker = await answeringBroker((request) => (isEcho(request) && broken ? answer : undefined))
  const connections = connectTo(broker)
  await expect(connections.send(1, 'control', echo('a'))).rejects.toMatchObject({
    code: 'malformed_response',
    fate: 'retry',
  })
  await eventually(() => expect(broker.open()).toBe(1), SOON)
  broken = false
  expect(await connections.send(1, 'control', echo('a'))).toBe('a')
})

test('no answer in time: the socket is destroyed, and everybody who waits on it is told', async () => {
  const broker = await answeringBroker((request) => (isEcho(request) && textOf(request) !== 'good' ? null : undefined))
  const connections = connectTo(broker, 1_000)
  await connections.topics([])
  const sent = await Promise.allSettled([1, 2].map(() => connections.send(1, 'control', echo('silence'))))
  for (const result of sent) {
    expect(result).toMatchObject({
      reason: { code: 'kafka_unavailable', message: expect.stringContaining('no answer to Echo') },
    })
  }
  await eventually(() => expect(broker.open()).toBe(1), SOON)
  expect(await connections.send(1, 'control', echo('good'))).toBe('good')
})

test('the time for an answer counts from when it is its turn, and holds what the broker may hold', async () => {
  const broker = await answeringBroker(async (request) => {
    if (isEcho(request) && textOf(request) === 'join') await systemClock.sleep(3_000)
    return undefined
  })
  const connections = connectTo(broker, 2_000)
  const sent = [connections.send(1, 'group', echo('join', 30_000)), connections.send(1, 'group', echo('heartbeat'))]
  expect(await Promise.all(sent)).toEqual(['join', 'heartbeat'])
})

test('a broker that accepts and says nothing, or refuses: kafka_unavailable, no socket stays', async () => {
  const silent = await answeringBroker(() => null)
  await expect(connectTo(silent, 100).topics([])).rejects.toMatchObject({ code: 'kafka_unavailable', fate: 'retry' })
  await eventually(() => expect(silent.open()).toBe(0), SOON)
  const gone = await answeringBroker()
  await gone.close()
  await expect(connectTo(gone).topics([])).rejects.toMatchObject({ code: 'kafka_unavailable', fate: 'retry' })
})

test('a broker that moved to another address is found again, one that is unknown is an error', async () => {
  const addresses = new Map<number, number>()
  const answer: Answer = ({ apiKey }) =>
    apiKey === API.metadata ? metadataAnswer([...addresses].map(([node, port]) => ({ node, port }))) : undefined
  const bootstrap = await answeringBroker(answer)
  const [before, after] = [await answeringBroker(answer), await answeringBroker(answer)]
  addresses.set(2, before.port)
  const connections = connectTo(bootstrap)
  expect(await connections.send(2, 'control', echo('here'))).toBe('here')
  addresses.set(2, after.port)
  await before.close()
  await eventually(async () => expect(await connections.send(2, 'control', echo('there'))).toBe('there'), SOON)
  expect(after.connections()).toBe(1)
  await expect(connections.send(3, 'control', echo('where'))).rejects.toMatchObject({ code: 'kafka_unavailable' })
})

test('what any broker answers is asked of the next one when the first is away', async () => {
  const [away, here] = [await answeringBroker(), await answeringBroker()]
  await away.close()
  const connections = createKafkaConnections({
    config: { brokers: [away.address, here.address] },
    clientId: 'test',
    logger: silentLogger,
    clock: systemClock,
  })
  onTestFinished(() => connections.close())
  expect((await connections.topics([])).size).toBe(0)
})

test('the coordinator is kept until it is forgotten, and an error is not kept', async () => {
  let error = 15
  const broker = await answeringBroker(({ apiKey }) =>
    apiKey === API.findCoordinator
      ? wireWriter().int32(0).int16(error).string(null).int32(1).string('127.0.0.1').int32(broker.port).end()
      : undefined,
  )
  const connections = connectTo(broker)
  await expect(connections.coordinator('group', 'g')).rejects.toMatchObject({ code: 'kafka_unavailable' })
  error = 30
  await expect(connections.coordinator('group', 'g')).rejects.toMatchObject({ code: 'kafka_refused', fate: 'crash' })
  error = 0
  expect(await Promise.all([1, 2].map(() => connections.coordinator('group', 'g')))).toEqual([1, 1])
  expect(await connections.coordinator('group', 'g')).toBe(1)
  connections.forgetCoordinator('group', 'g')
  expect(await connections.coordinator('group', 'g')).toBe(1)
  expect(await connections.send(1, 'group', echo('a'))).toBe('a')
  expect(broker.asked.filter(({ apiKey }) => apiKey === API.findCoordinator)).toHaveLength(4)
})

test('an idle connection has no timer, every socket has noDelay, and close leaves nothing', async () => {
  const setNoDelay = vi.spyOn(net.Socket.prototype, 'setNoDelay')
  onTestFinished(() => void setNoDelay.mockRestore())
  const broker = await answeringBroker()
  const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
  const before = timers()
  const connections = connectTo(broker)
  for (const channel of ['group', 'fetch', 'produce', 'control'] as const) await connections.send(1, channel, echo('a'))
  const armed = vi.spyOn(globalThis, 'setTimeout')
  onTestFinished(() => void armed.mockRestore())
  for (let turns = 0; turns < 50; turns++) await turn()
  expect(timers()).toBeLessThanOrEqual(before)
  expect(armed).not.toHaveBeenCalled()
  expect(setNoDelay).toHaveBeenCalledTimes(5)
  expect(setNoDelay.mock.calls.every(([on]) => on === true)).toBe(true)

  await connections.close()
  await eventually(() => expect(broker.open()).toBe(0), SOON)
  await expect(connections.send(1, 'control', echo('late'))).rejects.toMatchObject({ code: 'kafka_closed' })
})

test('close does not wait for a connection that does not come about', async () => {
  const broker = await answeringBroker(() => null)
  const connections = connectTo(broker, 60_000)
  const asked = connections.topics([])
  await eventually(() => expect(broker.asked).toHaveLength(1), SOON)
  await connections.close()
  await expect(asked).rejects.toMatchObject({ fate: 'retry' })
})

test('a broker that answers an error again and again is asked with pauses that grow, until the caller gives up', async () => {
  const stop = new AbortController()
  const broker = await answeringBroker(
    ({ apiKey, body }) => {
      if (apiKey !== API.listOffsets) return undefined
      if (broker.asked.filter((request) => request.apiKey === API.listOffsets).length >= 12) stop.abort()
      const partition = wireWriter().int32(0).int16(6).int64(-1).int64(-1).int32(-1).end()
      expect(body.length).toBeGreaterThan(0)
      return wireWriter()
        .int32(0)
        .array(['a'], (topic, writer) => writer.string(topic).int32(1).raw(partition))
        .end()
    },
    [{ name: 'a', leaders: [1] }],
  )
  const clock = manualClock()
  const waits: number[] = []
  const reader = createLogReader({
    connections: connectTo(broker),
    clock: {
      ...clock,
      async sleep(ms) {
        waits.push(ms)
        clock.advance(ms)
      },
    },
  })
  await expect(reader.waitForEnd('a', 0, 0, stop.signal)).rejects.toMatchObject({ fate: 'retry' })
  // two questions each time: where the log begins and where it ends
  expect(waits.length).toBeGreaterThanOrEqual(10)
  expect(Math.max(...waits)).toBeGreaterThan(150)
  expect(Math.max(...waits)).toBeLessThanOrEqual(2_000)
})

test('a topic that stays away for five seconds is unknown, and not before', async () => {
  const broker = await answeringBroker(undefined, [{ name: 'none', error: 3 }])
  const clock = manualClock()
  const before = clock.monotonic()
  const reader = createLogReader({ connections: connectTo(broker), clock })
  await expect(reader.range('none', 0)).rejects.toMatchObject({ code: 'unknown_topic', fate: 'crash' })
  expect(clock.monotonic() - before).toBeGreaterThanOrEqual(5_000)
})

test('a connection of kafkajs, which its admin client still uses, arms no timer while nothing waits in its queue', () => {
  createKafkaClient({ brokers: ['127.0.0.1:1'] }, 'test', silentLogger)
  const RequestQueue = createRequire(import.meta.url)('kafkajs/src/network/requestQueue') as new (
    options: object,
  ) => { throttledUntil: number; pending: object[]; scheduleCheckPendingRequests(): void }
  const logger = { namespace: () => logger, debug: () => {} }
  const queue = new RequestQueue({
    maxInFlightRequests: null,
    requestTimeout: 1_000,
    clientId: 'a',
    broker: 'b',
    logger,
  })
  const armed = vi.spyOn(globalThis, 'setTimeout').mockReturnValue(0 as unknown as NodeJS.Timeout)
  onTestFinished(() => void armed.mockRestore())
  queue.scheduleCheckPendingRequests()
  expect(armed).not.toHaveBeenCalled()
  queue.pending.push({})
  queue.scheduleCheckPendingRequests()
  expect(armed).toHaveBeenCalledExactlyOnceWith(expect.any(Function), 10)
})
