import { onTestFinished } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import type { KafkaConnections } from '../../infra/runtime/kafka/connections/connections.ts'
import { createKafkaConnections } from '../../infra/runtime/kafka/connections/kafka-connections.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import {
  API,
  type AskedRequest,
  apiVersionsAnswer,
  type FakeAnswer,
  type FakeBroker,
  type FakeTopic,
  metadataAnswer,
  startFakeBroker,
} from './fake-broker.ts'

export type Answer = (request: AskedRequest) => FakeAnswer | undefined | Promise<FakeAnswer | undefined>

/** Node 1; what `answer` leaves undefined is answered as a broker would: metadata of `topics`, ECHO by its body. */
export async function answeringBroker(
  answer: Answer = () => undefined,
  topics: readonly FakeTopic[] = [],
): Promise<FakeBroker> {
  const broker = await startFakeBroker(async (request) => {
    const own = await answer(request)
    if (own !== undefined) return own
    if (request.apiKey === API.apiVersions) return apiVersionsAnswer()
    if (request.apiKey === API.metadata) return metadataAnswer([{ node: 1, port: broker.port }], topics)
    return request.body
  })
  onTestFinished(() => broker.close())
  return broker
}

export function connectTo(broker: FakeBroker, requestTimeoutMs = 5_000, connectTimeoutMs = 2_000): KafkaConnections {
  const connections = createKafkaConnections({
    config: { brokers: [broker.address] },
    clientId: 'test',
    logger: silentLogger,
    clock: systemClock,
    requestTimeoutMs,
    connectTimeoutMs,
  })
  onTestFinished(() => connections.close())
  return connections
}
