import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { Compiled } from '../infra/runtime/config.ts'
import type { StageContext } from '../infra/runtime/stage-process.ts'
import type { Answers } from './answers/answers.ts'
import { type AppOptions, createApp } from './app.ts'
import type { INGEST } from './config.ts'
import type { GatewayParts } from './gateway-parts.ts'
import type { Plugin } from './http/request.ts'
import { createDrain } from './plugins/drain.ts'
import { type Address, startListening } from './plugins/listen.ts'
import { publicPlugins } from './public-plugins.ts'
import { adminRoutes } from './routes/admin.ts'

export interface RunningGateway {
  readonly address: Address
  readonly admin: Address
}

type GatewayContext = Pick<StageContext, 'config' | 'pipeline' | 'metrics' | 'logger' | 'clock' | 'start' | 'watch'>

/** Serves until the context's parts are stopped: then it drains first. */
export async function startGateway(
  context: GatewayContext,
  own: Compiled<typeof INGEST>,
  parts: GatewayParts,
): Promise<RunningGateway> {
  const { logger, clock, config } = context
  const { control, dependencies, redis, answers } = parts
  const drain = createDrain({ drainMs: own.drainMs, shutdownMs: config.shutdownMs, clock })
  const { over, cut } = drain.value
  const draining = drain.value.signal
  const problem = (): string | null => (draining.aborted ? 'stopping' : (dependencies.ready() ?? control.problem()))
  const options: Omit<AppOptions, 'before' | 'plugins'> = { ...parts, ...own, logger, cut }

  const untilOver: Answers = {
    ...answers,
    // nobody waits longer than there is time to answer
    wait: (id, tenant, signal) => answers.wait(id, tenant, AbortSignal.any([signal, over])),
  }

  async function listen(
    before: readonly Plugin[],
    plugins: readonly Plugin[],
    bound: Parameters<typeof startListening>[1],
    name: string,
  ): Promise<Address> {
    const app = await createApp({ ...options, before, plugins: [drain.value.plugin, ...plugins] })
    return await context.start(name, () => startListening(app, bound))
  }

  const admin = await listen(
    parts.adminBefore,
    [adminRoutes({ control, redis, clock, environment: own.keyEnvironment })],
    { host: own.adminHost, port: own.adminPort, portVariable: 'MILLRACE_ADMIN_PORT' },
    'admin',
  )
  const address = await listen(
    parts.before,
    publicPlugins(
      context,
      own,
      { ...parts, answers: untilOver },
      { version: await packageVersion(), problem, draining },
    ),
    { host: own.gatewayHost, port: own.gatewayPort, portVariable: 'MILLRACE_GATEWAY_PORT' },
    'gateway',
  )
  // stopped first, as it is started last
  await context.start('drain', async () => drain)
  context.watch({ ended: Promise.withResolvers<void>().promise, health: { live: () => null, ready: problem } })
  logger.info({ url: address.url, admin: admin.url }, 'gateway listens')
  return { address, admin }
}

async function packageVersion(): Promise<string> {
  const file = fileURLToPath(import.meta.resolve('millrace/package.json'))
  return (JSON.parse(await readFile(file, 'utf8')) as { readonly version: string }).version
}
