import type { BatchHandler } from '../../../infra/runtime/kafka/outcome.ts'
import type { SeededRandom } from '../seeded-random.ts'

/** Calls that one executor works on at once. */
const EACH = 2
const SLOW_SHARE = 0.5
/** How long the slow one waits to be overtaken: nothing more may come. */
const PATIENCE_MS = 250

/**
 * Gives the calls of a handler to two executors: the fast one answers when the handler is done, the slow one when one to
 * three other calls have been answered since. Which call goes where, and how many overtake it, is the seed's.
 */
export function fastAndSlow(handler: BatchHandler, random: SeededRandom): BatchHandler {
  const begin = handler.begin?.bind(handler)
  const held = new Set<{ left: number; readonly done: () => void }>()
  let slowCalls = 0

  function answered(): void {
    for (const call of held) if (--call.left <= 0) call.done()
  }

  function overtakenBy(others: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        held.delete(call)
        resolve()
      }
      const timer = setTimeout(done, PATIENCE_MS)
      const call = { left: others, done }
      held.add(call)
    })
  }

  return {
    concurrency: 2 * EACH,
    ...(begin === undefined ? {} : { begin }),
    async handle(outcomes) {
      // both are drawn by every call, so that the room of the moment does not change what the next ones get
      const others = random.between(1, 2 * EACH - 1)
      const slow = random.chance(SLOW_SHARE) && slowCalls < EACH
      if (slow) slowCalls++
      try {
        await handler.handle(outcomes)
        if (slow) await overtakenBy(others)
      } finally {
        if (slow) slowCalls--
        answered()
      }
    },
  }
}
