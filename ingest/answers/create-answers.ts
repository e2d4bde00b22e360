import type { Clock } from '../../infra/runtime/clock.ts'
import { fateOf, retryable } from '../../infra/runtime/errors.ts'
import { coordinatesText } from '../../schemas/redis-keys.ts'
import type { RequestId } from '../../schemas/request-id.ts'
import type { Answer, Answers } from './answers.ts'
import type { AnswersObserver } from './answers-metrics.ts'
import type { Bells } from './bells.ts'
import type { EndedEvent } from './ended-event.ts'
import type { EventLog } from './event-log.ts'
import { isRepetition, type RecentEvents } from './recent-events.ts'
import type { StoredEvents } from './stored-events.ts'

export interface AnswersDeps {
  readonly recent: RecentEvents
  readonly stored: StoredEvents
  readonly log: EventLog
  /** Rung, by coordinates, when an event has ended. */
  readonly bells: Bells
  /** More do not wait: they are told `pending` at once. */
  readonly maxWaiting: number
  readonly clock: Clock
  readonly observer: AnswersObserver
}

const PENDING: Answer = { state: 'pending' }
const UNKNOWN: Answer = { state: 'unknown' }

/** ClickHouse is not asked again so soon for what it did not have. */
const NOTHING_MS = 500
const MAX_NOTHING = 10_000
/** News can get lost, when Redis or the connection to it goes away: who waits looks again after 50 ms, 100 ms, … */
const LOOK_AGAIN = { firstMs: 50, mostMs: 1_000 }
const WAITS_TTL_MS = 60_000
/** A repetition whose first event has no answer for so long will not get one. */
const FIRST_WITHIN_MS = 3_600_000

export function createAnswers(deps: AnswersDeps): Answers {
  const { recent, stored, log, bells, clock, observer } = deps
  const nothing = new Map<string, number>()

  /** Of the topic as it is now; null = of another one. */
  async function ofThisLog(found: EndedEvent | null): Promise<EndedEvent | null> {
    if (found === null || found.generation === log.generation()) return found
    await log.refresh()
    return found.generation === log.generation() ? found : null
  }

  async function storedAt(id: RequestId): Promise<EndedEvent | null> {
    const key = `${id.dayMs}.${coordinatesText(id.partition, id.offset)}`
    if ((nothing.get(key) ?? 0) > clock.monotonic()) return null
    const found = await stored.at(id, log.generation())
    if (found === null) {
      if (nothing.size >= MAX_NOTHING) nothing.clear()
      nothing.set(key, clock.monotonic() + NOTHING_MS)
    } else if ((await ofThisLog(found)) === null) {
      // an event of the topic before it was made again, unless the topic has come so far since
      const now = await unlessAway(() => log.look(id.partition, id.offset))
      if (now !== AWAY && now.state !== 'absent') return null
    }
    return found
  }

  /** The answer, once a repetition's first event has one. */
  async function answerOf(id: RequestId, found: EndedEvent, look: 'recent' | 'everywhere'): Promise<Answer> {
    const { generation, tenant, eventId, failedAt } = found
    if (!isRepetition(found) || eventId === null) return found.answer
    const event = { generation, tenant, eventId }
    const first = await unlessAway(() => recent.before(id.partition, id.offset, event))
    if (first !== AWAY && first !== null) return first.answer
    if (look === 'everywhere') {
      const before = await stored.before(id.partition, id.offset, event)
      if (before !== null) return before.answer
    }
    return clock.now() - (failedAt ?? 0) > FIRST_WITHIN_MS ? found.answer : PENDING
  }

  /** Whether it is what the id names, and whose it is. */
  async function isAskedFor(id: RequestId, found: EndedEvent, tenant: string): Promise<boolean> {
    if (found.tenant !== tenant) return false
    if (found.dayMs !== null) return found.dayMs === id.dayMs
    // a letter does not tell the day
    const logged = await unlessAway(() => log.look(id.partition, id.offset))
    return logged === AWAY || logged.state !== 'there' || logged.dayMs === id.dayMs
  }

  return {
    async find(id, tenant) {
      const { partition, offset, dayMs } = id
      const near = await unlessAway(async () => ofThisLog(await recent.at(partition, offset)))
      const far = near === AWAY || near === null ? await unlessAway(() => storedAt(id)) : null
      if (near === AWAY && far === AWAY) {
        throw retryable('answers_unavailable', 'neither Redis nor ClickHouse can be asked')
      }
      const isNear = near !== AWAY && near !== null
      const found = isNear ? near : far === AWAY ? null : far
      observer.asked(isNear ? 'redis' : found === null ? 'none' : 'clickhouse')
      if (found !== null)
        return (await isAskedFor(id, found, tenant)) ? await answerOf(id, found, 'everywhere') : UNKNOWN
      const logged = await log.look(partition, offset)
      if (logged.state === 'absent') return UNKNOWN
      if (logged.state === 'there') return logged.tenant === tenant && logged.dayMs === dayMs ? PENDING : UNKNOWN
      if (dayMs > clock.now()) return UNKNOWN
      if (far === AWAY) throw retryable('clickhouse_unavailable', 'ClickHouse cannot be asked')
      return { state: 'expired' }
    },

    async wait(id, tenant, signal) {
      const { partition, offset } = id
      if (signal.aborted || bells.waiting >= deps.maxWaiting) return PENDING
      const since = clock.monotonic()
      const bell = bells.enter(coordinatesText(partition, offset))
      const gone = new AbortController()
      const end = (answer: Answer): Answer => {
        observer.waited(answer.state, clock.monotonic() - since)
        return answer
      }

      async function look(announced: boolean): Promise<Answer> {
        const announcing = announced ? undefined : recent.announce(partition, offset, WAITS_TTL_MS)
        const [found] = await Promise.all([recent.at(partition, offset).then(ofThisLog), announcing])
        if (found === null) return PENDING
        return found.tenant === tenant ? await answerOf(id, found, 'recent') : UNKNOWN
      }

      try {
        for (let lookAgainMs = LOOK_AGAIN.firstMs, announced = false; ; announced = lookAgainMs < LOOK_AGAIN.mostMs) {
          const answer = await unlessAway(() => Promise.race([look(announced), abortedPending(signal, gone.signal)]))
          if (answer === AWAY) return end(PENDING)
          if (answer.state !== 'pending' || signal.aborted) return end(answer)
          await bell.rung(lookAgainMs, signal)
          if (signal.aborted) return end(PENDING)
          lookAgainMs = Math.min(lookAgainMs * 2, LOOK_AGAIN.mostMs)
        }
      } finally {
        gone.abort()
        bell.leave()
      }
    },
  }
}

/** Resolves when `signal` aborts; lets go of it when `gone` does. */
function abortedPending(signal: AbortSignal, gone: AbortSignal): Promise<Answer> {
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(PENDING), { once: true, signal: gone })
  })
}

const AWAY = Symbol('away')

/** What a store answers, or that it is away: whatever is wrong with it, another one may answer. */
async function unlessAway<T>(ask: () => Promise<T>): Promise<T | typeof AWAY> {
  try {
    return await ask()
  } catch (error) {
    if (fateOf(error) !== 'retry') throw error
    return AWAY
  }
}
