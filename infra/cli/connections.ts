import { createSchemaRegistry, type SchemaRegistry } from '../runtime/avro/schema-registry.ts'
import { CONNECTIONS, type Connections, kafkaConfig, readConfig, registryConfig } from '../runtime/config.ts'
import { createKafkaClient, type KafkaClient } from '../runtime/kafka/kafka-client.ts'
import { silentLogger } from '../runtime/telemetry/logger.ts'

/** What commands talk to, from the same variables as the stages; nothing is connected yet. */
export interface CommandConnections {
  readonly settings: Connections
  readonly kafka: KafkaClient
  readonly registry: SchemaRegistry
}

export function commandConnections(env: NodeJS.ProcessEnv): CommandConnections {
  const settings = readConfig(CONNECTIONS, env)
  return {
    settings,
    kafka: createKafkaClient(kafkaConfig(settings), 'millrace-cli', silentLogger),
    registry: createSchemaRegistry(registryConfig(settings)),
  }
}
