import { userInfo } from 'node:os'
import { type Command, InvalidArgumentError } from 'commander'
import { type LimitSettings, SCOPES, type Scope } from '../../../schemas/control/access.ts'
import { systemClock } from '../../runtime/clock.ts'
import { CONNECTIONS, readConfig } from '../../runtime/config.ts'
import type { ControlLog } from '../../runtime/control/control-log.ts'
import { describeError, fateOf } from '../../runtime/errors.ts'
import { connectRedis, type RedisClient } from '../../runtime/redis/redis-client.ts'
import { silentLogger } from '../../runtime/telemetry/logger.ts'
import { withControlLog } from '../control-log.ts'
import { loadStageModule } from '../stage-module.ts'
import { type LimitOptions, limitsOf, limitsText, withLimits } from './limit-options.ts'

/** As ingest/commands/key-*.ts export them. */
interface By {
  readonly actor: string
  readonly reason: string
}
interface Listed {
  readonly id: string
  readonly tenant: string
  readonly principal: string
  readonly scopes: readonly Scope[]
  readonly limits: LimitSettings
  readonly createdAt: number
  readonly expiresAt: number | null
  readonly state: string
}
interface Used extends Listed {
  /** `unknown`: Redis did not answer. */
  readonly lastUsedAt: number | null | 'unknown'
}
interface Created {
  readonly text: string
  readonly key: Listed
}
interface How {
  readonly expiresAt: number | null
  readonly environment: string
}
interface CreateModule {
  createKey(
    control: ControlLog,
    request: How & {
      readonly tenant: string
      readonly principal: string
      readonly scopes: readonly Scope[]
      readonly limits: Partial<LimitSettings>
    },
    now: number,
    by: By,
  ): Promise<Created>
  rotateKey(control: ControlLog, id: string, how: How, now: number, by: By): Promise<Created>
}
interface RevokeModule {
  revokeKey(control: ControlLog, id: string, by: By): Promise<boolean>
}
interface ListModule {
  listKeys(control: ControlLog, tenant: string | null, now: number): readonly Listed[]
}
interface UseModule {
  withLastUse(redis: RedisClient, keys: readonly Listed[]): Promise<readonly Used[]>
}

interface HowOptions extends By {
  /** ms. */
  readonly expires?: number
  readonly environment: string
}

const REDIS_TIMEOUT_MS = 2_000

export function register(program: Command): void {
  const key = program.command('key').description('hand out API keys of the gateway, and take them back')

  withHow(withLimits(key.command('create')))
    .description('make a key and print it: on standard output the key alone, which nobody can tell again')
    .requiredOption('--tenant <tenant>', 'whose events and predictions it is for')
    .requiredOption('--principal <name>', 'service or person that will hold it; has at most two live keys')
    .requiredOption('--scopes <scopes>', `what it allows, comma-separated: ${SCOPES.join(', ')}`, scopes)
    .action(
      async (options: HowOptions & LimitOptions & { tenant: string; principal: string; scopes: readonly Scope[] }) => {
        const { createKey } = await loadStageModule<CreateModule>('ingest/commands/key-create')
        const { tenant, principal } = options
        const request = { tenant, principal, scopes: options.scopes, limits: limitsOf(options), ...howOf(options) }
        tell(await withControlLog((log) => createKey(log, request, systemClock.now(), byOf(options))))
      },
    )

  withHow(key.command('rotate'))
    .description('make a second key like this one; revoke the first once the second is in use')
    .argument('<key id>')
    .action(async (id: string, options: HowOptions) => {
      const { rotateKey } = await loadStageModule<CreateModule>('ingest/commands/key-create')
      tell(await withControlLog((log) => rotateKey(log, id, howOf(options), systemClock.now(), byOf(options))))
    })

  signed(key.command('revoke'))
    .description('take a key out of service for good, at every gateway within 5 s')
    .argument('<key id>')
    .action(async (id: string, options: By) => {
      const { revokeKey } = await loadStageModule<RevokeModule>('ingest/commands/key-revoke')
      const revoked = await withControlLog((log) => revokeKey(log, id, byOf(options)))
      console.log(revoked ? `revoked  ${id}` : `${id} was revoked before`)
    })

  key
    .command('list')
    .description('show keys, and when each was last used')
    .option('--tenant <tenant>', 'only of this tenant')
    .option('--json', 'print one JSON object per line', false)
    .action(async ({ tenant, json }: { tenant?: string; json: boolean }) => {
      const { listKeys } = await loadStageModule<ListModule>('ingest/commands/key-list')
      const keys = await withControlLog(async (log) => listKeys(log, tenant ?? null, systemClock.now()))
      if (keys.length === 0 && !json) console.log('there are no keys')
      for (const used of await lastUses(keys)) console.log(json ? JSON.stringify(used) : line(used))
    })
}

function tell({ text, key }: Created): void {
  console.error(line({ ...key, lastUsedAt: null }))
  console.log(text)
}

async function lastUses(keys: readonly Listed[]): Promise<readonly Used[]> {
  const { withLastUse } = await loadStageModule<UseModule>('ingest/commands/key-last-used')
  const { redisUrl: url, redisCa: ca } = readConfig(CONNECTIONS, process.env)
  const tls = ca === undefined ? undefined : { ca }
  const redis = connectRedis({ url, tls, commandTimeoutMs: REDIS_TIMEOUT_MS, logger: silentLogger })
  try {
    return await withLastUse(redis, keys)
  } catch (error) {
    if (fateOf(error) !== 'retry') throw error
    console.error(`millrace: when keys were last used is unknown: ${describeError(error).message}`)
    return keys.map((key) => ({ ...key, lastUsedAt: 'unknown' }))
  } finally {
    await redis.close()
  }
}

function withHow(command: Command): Command {
  return signed(command)
    .option('--expires <time>', 'from now, e.g. 12h or 90d (default: never)', lifetime)
    .option('--environment <name>', 'where it belongs; second part of its text', 'live')
}

function signed(command: Command): Command {
  return command
    .option('--actor <name>', 'who does it, for the control log', userInfo().username)
    .option('--reason <text>', 'why, for the control log', '')
}

function howOf({ expires, environment }: HowOptions): How {
  return { expiresAt: expires === undefined ? null : systemClock.now() + expires, environment }
}

function byOf({ actor, reason }: By): By {
  return { actor, reason }
}

function scopes(text: string): readonly Scope[] {
  const names = text.split(',').map((name) => name.trim())
  const known = SCOPES.filter((scope) => names.includes(scope))
  if (known.length !== new Set(names).size) throw new InvalidArgumentError(`must be of ${SCOPES.join(', ')}.`)
  return known
}

function lifetime(text: string): number {
  const match = /^([1-9]\d{0,4})([mhd])$/.exec(text)
  if (match === null) throw new InvalidArgumentError('must be a time, e.g. 30m, 12h or 90d.')
  return Number(match[1]) * { m: 60_000, h: 3_600_000, d: 86_400_000 }[match[2] as 'm' | 'h' | 'd']
}

function line({
  id,
  tenant,
  principal,
  scopes: allowed,
  limits,
  createdAt,
  expiresAt,
  state,
  lastUsedAt,
}: Used): string {
  const used = typeof lastUsedAt === 'number' ? time(lastUsedAt) : (lastUsedAt ?? 'never')
  const until = expiresAt === null ? 'never expires' : `expires ${time(expiresAt)}`
  const who = `${tenant}/${principal}`.padEnd(24)
  return `${id}  ${who}  ${state.padEnd(7)}  ${allowed.join(',')}  made ${time(createdAt)}, ${until}, used ${used}  ${limitsText(limits)}`
}

function time(at: number): string {
  return new Date(at).toISOString()
}
