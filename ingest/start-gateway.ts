import type { Compiled } from '../infra/runtime/config.ts'
import type { FollowedControlLog } from '../infra/runtime/control/start-control-log.ts'
import type { Health } from '../infra/runtime/http/ops-server.ts'
import type { StageContext } from '../infra/runtime/stage-process.ts'
import type { Access } from './access/access.ts'
import type { Answers } from './answers/answers.ts'
import { type AppOptions, createApp } from './app.ts'
import type { INGEST } from './config.ts'
import type { Gateway } from './http/request.ts'
import type { Intakes } from './intake/start-intakes.ts'
import type { Limits } from './limits/limits.ts'
import type { EventReader } from './mapping/event-reader.ts'
import { createDrain } from './plugins/drain.ts'
import { type Address, startListening } from './plugins/listen.ts'
import { health } from './routes/health.ts'
import { createPredictionHeaders } from './routes/prediction-headers.ts'
import { v1Events } from './routes/v1-events.ts'
import { v1Labels } from './routes/v1-labels.ts'
import { v1Pipeline } from './routes/v1-pipeline.ts'
import { v1Predict } from './routes/v1-predict.ts'
import { v1Predictions } from './routes/v1-predictions.ts'
import type { UsageMeter } from './usage/usage.ts'

type Plugin = (app: Gateway) => Promise<void> | void

/** What the routes are made from. */
export interface GatewayParts {
  readonly access: Access
  readonly limits: Limits
  readonly usage: UsageMeter
  readonly intakes: Intakes
  readonly answers: Answers
  readonly readers: { readonly events: EventReader; readonly labels: EventReader | null }
  readonly control: FollowedControlLog
  /** Ready while these are. */
  readonly dependencies: Health
  /** Come before the routes. */
  readonly plugins: readonly Plugin[]
  readonly routes: readonly Plugin[]
  /** Of the admin port; null = there is none. */
  readonly admin: readonly Plugin[] | null
}

export interface RunningGateway {
  readonly address: Address
  readonly admin: Address | null
}

/** Serves until the context's parts are stopped: then it drains first. */
export async function startGateway(
  context: Pick<StageContext, 'pipeline' | 'logger' | 'clock' | 'start' | 'watch'>,
  own: Compiled<typeof INGEST>,
  parts: GatewayParts,
): Promise<RunningGateway> {
  const { pipeline, logger, clock } = context
  const { intakes, answers, readers, control, limits, dependencies } = parts
  const drain = createDrain({ drainMs: own.drainMs, clock })
  const ready = (): string | null => drain.value.health.ready() ?? dependencies.ready() ?? control.problem()
  const options: Omit<AppOptions, 'plugins'> = { ...parts, ...own, logger }

  const headersOf = createPredictionHeaders(control)
  const events = { pipeline, limits, reader: readers.events, intake: intakes.events }
  const app = await createApp({
    ...options,
    plugins: [
      drain.value.plugin,
      ...parts.plugins,
      health({ problem: ready }),
      v1Pipeline({ pipeline }),
      v1Events(events),
      v1Predict({ ...events, answers, headersOf, waitMs: own.predictWaitMs }),
      v1Predictions({ pipeline, answers, headersOf }),
      ...(intakes.labels === null || readers.labels === null
        ? []
        : [v1Labels({ pipeline, limits, reader: readers.labels, intake: intakes.labels })]),
      ...parts.routes,
    ],
  })
  const bound = { host: own.gatewayHost, port: own.gatewayPort, portVariable: 'MILLRACE_GATEWAY_PORT' }
  const address = await context.start('gateway', () => startListening(app, bound))
  const admin = parts.admin === null ? null : await startAdmin(parts.admin)
  // stopped first, as it is started last
  await context.start('drain', async () => drain)
  context.watch({ ended: Promise.withResolvers<void>().promise, health: { live: () => null, ready } })
  logger.info({ url: address.url, admin: admin?.url ?? null }, 'gateway listens')
  return { address, admin }

  async function startAdmin(plugins: readonly Plugin[]): Promise<Address> {
    const adminApp = await createApp({ ...options, plugins: [drain.value.plugin, ...plugins] })
    const adminBound = { host: own.adminHost, port: own.adminPort, portVariable: 'MILLRACE_ADMIN_PORT' }
    return await context.start('admin', () => startListening(adminApp, adminBound))
  }
}
