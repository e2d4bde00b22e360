import { freePorts } from '../../infra/local/ports.ts'
import { REPLACED_BY } from '../../infra/local/settings.ts'

/** Variables by which `npm start` runs a whole stack of its own, on ports that nobody uses. */
export async function ownPorts(): Promise<{ readonly ports: readonly number[]; readonly env: NodeJS.ProcessEnv }> {
  const ports = await freePorts(7)
  const [kafka, controller, registry, redis, clickhouse, gateway, admin] = ports.map(String)
  return {
    ports,
    env: {
      MILLRACE_KAFKA_PORT: kafka,
      MILLRACE_KAFKA_CONTROLLER_PORT: controller,
      MILLRACE_REGISTRY_PORT: registry,
      MILLRACE_REDIS_PORT: redis,
      MILLRACE_CLICKHOUSE_PORT: clickhouse,
      MILLRACE_GATEWAY_PORT: gateway,
      MILLRACE_ADMIN_PORT: admin,
      ...Object.fromEntries(Object.values(REPLACED_BY).map((variable) => [variable, undefined])),
    },
  }
}
