import type { FollowedControlLog } from '../infra/runtime/control/start-control-log.ts'
import type { Health } from '../infra/runtime/http/ops-server.ts'
import type { RedisClient } from '../infra/runtime/redis/redis-client.ts'
import type { Access } from './access/access.ts'
import type { Answers } from './answers/answers.ts'
import type { Plugin } from './http/request.ts'
import type { Intakes } from './intake/start-intakes.ts'
import type { Limits } from './limits/limits.ts'
import type { EventReader } from './mapping/event-reader.ts'
import type { PredictionFeed } from './stream/prediction-feed.ts'
import type { UsageMeter } from './usage/usage.ts'

/** What the routes are made from. */
export interface GatewayParts {
  readonly access: Access
  readonly limits: Limits
  readonly usage: UsageMeter
  readonly intakes: Intakes
  readonly answers: Answers
  readonly feed: PredictionFeed
  readonly readers: { readonly events: EventReader; readonly labels: EventReader | null }
  readonly control: FollowedControlLog
  /** For what people look at, not for requests that are counted in milliseconds. */
  readonly redis: RedisClient
  /** Ready while these are. */
  readonly dependencies: Health
  /** Of the public port, and of the admin port: what they do before anybody is asked who it is. */
  readonly before: readonly Plugin[]
  readonly adminBefore: readonly Plugin[]
}
