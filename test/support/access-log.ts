import type { Clock } from '../../infra/runtime/clock.ts'
import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import type { FollowedControlLog } from '../../infra/runtime/control/start-control-log.ts'
import type { KeyRequest } from '../../ingest/commands/key-create.ts'
import { memoryControlLog } from './memory-control-log.ts'

export const BY = { actor: 'test', reason: '' } as const

/** A log in memory that can be as stale as it is told to be. */
export function accessLog(clock: Clock): ControlLog & Pick<FollowedControlLog, 'readAt'> & { staleMs: number } {
  const log = memoryControlLog()
  return {
    staleMs: 0,
    get readAt() {
      return clock.now() - this.staleMs
    },
    get revision() {
      return log.revision
    },
    ...{ latest: log.latest, all: log.all, append: log.append, watch: log.watch },
  }
}

export function keyRequest(more: Partial<KeyRequest> = {}): KeyRequest {
  const request = { tenant: 'acme', principal: 'shop', scopes: ['ingest', 'read'], expiresAt: null } as const
  return { ...request, limits: {}, environment: 'test', ...more }
}
