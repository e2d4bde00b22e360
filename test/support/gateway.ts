import { expect } from 'vitest'
import { readConfig } from '../../infra/runtime/config.ts'
import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { hashSecret, makeKey } from '../../ingest/access/key-text.ts'
import { INGEST } from '../../ingest/config.ts'
import type { GatewayParts } from '../../ingest/gateway-parts.ts'
import { startGateway } from '../../ingest/start-gateway.ts'
import { startParts } from '../../ingest/start-parts.ts'
import { type ApiKeyEntry, type Scope, type TenantEntry, UNLIMITED } from '../../schemas/control/access.ts'
import { eventually } from './eventually.ts'
import { stageContext } from './stage-context.ts'

export interface TestGateway {
  /** E.g. `http://127.0.0.1:41234`. */
  readonly url: string
  /** Of the admin port. */
  readonly adminUrl: string
  readonly parts: GatewayParts
  /** A new API key, as whoever holds it sends it; its tenant is made where there is none. */
  key(tenant?: string, scopes?: readonly Scope[]): Promise<string>
  /** Drains and ends it; also done when the test ends. */
  stop(): Promise<void>
}

/**
 * A gateway in this process, made as a stage makes it, on free ports, for a pipeline that is deployed on the stack that `env` names. Any
 * variable of the gateway can be given with `env`; `parts` replaces what it is made from.
 */
export async function startTestGateway(
  folder: string,
  env: Readonly<Record<string, string>>,
  replace: (parts: GatewayParts) => Partial<GatewayParts> = () => ({}),
): Promise<TestGateway> {
  const all = {
    MILLRACE_GATEWAY_PORT: '0',
    MILLRACE_ADMIN_PORT: '0',
    MILLRACE_GATEWAY_DRAIN_MS: '0',
    MILLRACE_INGEST_CHECK_MS: '100',
    // a busy machine is no Redis that is away, and no Kafka either
    MILLRACE_GATEWAY_REDIS_MS: '2000',
    MILLRACE_GATEWAY_PUBLISH_MS: '60000',
    ...env,
  }
  const { context, stop } = await stageContext('ingest', folder, all)
  const own = readConfig(INGEST, all)
  const parts = await startParts(context, own)
  const { address, admin } = await startGateway(context, own, {
    ...parts,

    ...replace(parts),
  })
  const url = address.url
  await eventually(async () => expect((await fetch(`${url}/ready`)).status).toBe(200), { deadlineMs: 60_000 })
  return {
    url,
    adminUrl: admin.url,
    parts,
    key: (tenant = 'default', scopes = ['ingest', 'read', 'label']) => testKey(parts.control, tenant, scopes),
    stop,
  }
}

async function testKey(control: ControlLog, tenant: string, scopes: readonly Scope[]): Promise<string> {
  const by = { actor: 'test', reason: 'test' }
  if (control.latest('tenant', tenant) === null) {
    const value: TenantEntry = { state: 'active', limits: UNLIMITED }
    await control.append({ kind: 'tenant', name: tenant, basedOn: null, value, ...by })
  }
  const { id, secret, text } = makeKey('test')
  const value: ApiKeyEntry = {
    tenant,
    principal: id,
    scopes,
    hash: hashSecret(secret).toString('hex'),
    limits: UNLIMITED,
    createdAt: Date.now(),
    expiresAt: null,
    state: 'active',
  }
  await control.append({ kind: 'api-key', name: id, basedOn: null, value, ...by })
  return text
}
