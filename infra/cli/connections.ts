import { createSchemaRegistry, type SchemaRegistry } from '../runtime/avro/schema-registry.ts'
import { systemClock } from '../runtime/clock.ts'
import { CONNECTIONS, type Connections, kafkaConfig, readConfig, registryConfig } from '../runtime/config.ts'
import type { KafkaConnections } from '../runtime/kafka/connections/connections.ts'
import { createKafkaConnections } from '../runtime/kafka/connections/kafka-connections.ts'
import { createKafkaClient, type KafkaClient } from '../runtime/kafka/kafka-client.ts'
import { createLogReader, type LogReader } from '../runtime/kafka/log-reader.ts'
import { silentLogger } from '../runtime/telemetry/logger.ts'

/** What commands talk to, from the same variables as the stages; nothing is connected yet. */
export interface CommandConnections {
  readonly settings: Connections
  readonly kafka: KafkaClient
  readonly registry: SchemaRegistry
}

/** A command reads whole topics: fewer and larger answers than a stage's tails. */
const FETCH_BYTES = 4_194_304

export function commandConnections(env: NodeJS.ProcessEnv): CommandConnections {
  const settings = readConfig(CONNECTIONS, env)
  return {
    settings,
    kafka: createKafkaClient(kafkaConfig(settings), 'millrace-cli', silentLogger),
    registry: createSchemaRegistry(registryConfig(settings)),
  }
}

/** What reads logs by position, for commands that prove or repair; closed by whoever asked for it. */
export function logConnections(
  settings: Connections,
  fetchBytes = FETCH_BYTES,
): {
  readonly connections: KafkaConnections
  readonly reader: LogReader
} {
  const options = { config: kafkaConfig(settings), clientId: 'millrace-cli', logger: silentLogger, clock: systemClock }
  const connections = createKafkaConnections(options)
  return { connections, reader: createLogReader({ connections, clock: systemClock, fetchBytes }) }
}
