import { systemClock } from '../runtime/clock.ts'
import type { ControlLog } from '../runtime/control/control-log.ts'
import { startControlLog } from '../runtime/control/start-control-log.ts'
import { createIdempotentWriter } from '../runtime/kafka/producer/idempotent-writer.ts'
import { createScope } from '../runtime/lifecycle/scope.ts'
import { createLogger } from '../runtime/telemetry/logger.ts'
import { commandConnections, logConnections } from './connections.ts'
import { patiently } from './patiently.ts'

const PATIENCE_MS = 20_000

/** The control log as it is now, for a command that reads or changes it; followed until the work is done. */
export async function withControlLog<T>(
  work: (log: ControlLog) => Promise<T>,
  env: NodeJS.ProcessEnv = process.env,
): Promise<T> {
  const { settings, registry } = commandConnections(env)
  const { connections: brokers, reader } = logConnections(settings)
  const logger = createLogger('warn', { command: 'millrace' }, 'stderr')
  const deps = { clock: systemClock, logger }
  const scope = createScope(logger)
  try {
    await scope.start('Kafka', async () => ({ value: brokers, stop: () => brokers.close() }))
    const writer = await scope.start('Kafka writer', async () =>
      createIdempotentWriter({ ...deps, connections: brokers }),
    )
    const log = await scope.start('control log', () =>
      patiently('the control log', () => startControlLog({ ...deps, brokers, log: reader, writer, registry }), {
        say: console.error,
        signal: AbortSignal.timeout(PATIENCE_MS),
      }),
    )
    return await work(log)
  } finally {
    await scope.close()
  }
}
