import { existsSync } from 'node:fs'
import path from 'node:path'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { readGolden } from '../../../schemas/pipeline/golden.ts'
import { freePorts, requireFreePorts } from '../../local/ports.ts'
import type { ControlLog } from '../../runtime/control/control-log.ts'
import { withControlLog } from '../control-log.ts'
import { loadStageModule } from '../stage-module.ts'

/** Where the gateway of a run will listen. */
export interface GatewayPlace {
  readonly url: string
  readonly adminUrl: string
  /** For its process. */
  readonly env: Readonly<Record<string, string>>
}

interface KeyModule {
  createDevelopmentKey(control: ControlLog, request: { readonly tenant: string; readonly now: number }): Promise<string>
}

const LOOPBACK = '127.0.0.1'
const PORTS = { MILLRACE_GATEWAY_PORT: 8_080, MILLRACE_ADMIN_PORT: 8_090 } as const
/** Whose events those of a pipeline are that takes the tenant from the credential. */
const TENANT = 'default'

/** Rejects when a port is taken, naming its variable. There is no load balancer that would have to notice the end. */
export async function gatewayPlace(env: NodeJS.ProcessEnv): Promise<GatewayPlace> {
  const [free = 0, freeToo = 0] = await freePorts(2)
  const gateway = portOf(env, 'MILLRACE_GATEWAY_PORT') || free
  const admin = portOf(env, 'MILLRACE_ADMIN_PORT') || freeToo
  await requireFreePorts([
    { port: gateway, owner: 'gateway', variable: 'MILLRACE_GATEWAY_PORT' },
    { port: admin, owner: "the gateway's /v1/admin", variable: 'MILLRACE_ADMIN_PORT' },
  ])
  const host = env['MILLRACE_GATEWAY_HOST'] ?? LOOPBACK
  return {
    url: `http://${host === '0.0.0.0' ? LOOPBACK : host}:${gateway}`,
    adminUrl: `http://${env['MILLRACE_ADMIN_HOST'] ?? LOOPBACK}:${admin}`,
    env: {
      MILLRACE_GATEWAY_PORT: String(gateway),
      MILLRACE_ADMIN_PORT: String(admin),
      MILLRACE_GATEWAY_DRAIN_MS: env['MILLRACE_GATEWAY_DRAIN_MS'] ?? '0',
    },
  }
}

function portOf(env: NodeJS.ProcessEnv, variable: keyof typeof PORTS): number {
  const port = Number(env[variable] ?? PORTS[variable])
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port
  throw new Error(`${variable} must be a port number, not ${env[variable]}.`)
}

/** A random key for the pipeline's tenant, which takes the place of the one that an earlier run printed. */
export async function developmentKey(pipeline: CompiledPipeline, env: NodeJS.ProcessEnv): Promise<string> {
  const { tenant } = pipeline.event
  const { createDevelopmentKey } = await loadStageModule<KeyModule>('ingest/commands/key-create')
  const owner = 'fixed' in tenant ? tenant.fixed : TENANT
  return await withControlLog((log) => createDevelopmentKey(log, { tenant: owner, now: Date.now() }), env)
}

/** Commands that work when they are pasted into a shell beside the running stack. `key` null: whoever has one puts it there. */
export function howToAsk(
  pipeline: CompiledPipeline,
  { url, adminUrl }: GatewayPlace,
  key: string | null,
): readonly string[] {
  const bearer = `-H 'authorization: Bearer ${key ?? '<key>'}'`
  const address = `${url}/v1/pipelines/${pipeline.name}`
  const event = sampleEvent(pipeline)
  const command =
    event === null
      ? `curl ${address} ${bearer}`
      : `curl ${address}/predict ${bearer} -H 'content-type: application/json' -d '${event.replaceAll("'", `'\\''`)}'`
  return [
    `Gateway: ${url} (documented at ${url}/docs), /v1/admin at ${adminUrl}`,
    key === null ? 'API keys: millrace key create' : `Development key: ${key}`,
    event === null ? 'Ask what events look like:' : 'Send an event and get its prediction:',
    `  ${command}`,
    '',
  ]
}

/** Without its id, so that each time it is sent it is another one. */
function sampleEvent(pipeline: CompiledPipeline): string | null {
  if (!existsSync(path.join(pipeline.folder, 'golden.json'))) return null
  const [golden] = readGolden(pipeline)
  if (golden === undefined) return null
  const { [pipeline.event.idField]: _, ...event } = golden.event
  return JSON.stringify(event)
}
