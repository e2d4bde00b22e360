import type { Logger } from '../telemetry/logger.ts'

/** What `start…` functions answer: who is given the value cannot stop it. */
export interface Started<T> {
  readonly value: T
  stop(): Promise<void>
}

/** Starts things in order and stops them in reverse, once. */
export interface Scope {
  /** Rejects with what the start rejects with; what had been started before is stopped by `close`. */
  start<T>(name: string, start: () => Promise<Started<T>>): Promise<T>
  /** Each stop is tried, whatever the others did; a stop that fails is logged. */
  close(): Promise<void>
}

export function createScope(logger: Logger): Scope {
  const stops: { readonly name: string; readonly stop: () => Promise<void> }[] = []
  let closing: Promise<void> | null = null

  async function closeAll(): Promise<void> {
    for (const { name, stop } of stops.toReversed()) {
      try {
        await stop()
      } catch (error) {
        logger.error({ part: name, error: (error as Error).message }, 'stop failed')
      }
    }
  }

  return {
    async start(name, start) {
      const started = await start()
      stops.push({ name, stop: () => started.stop() })
      return started.value
    },
    close() {
      closing ??= closeAll()
      return closing
    },
  }
}
