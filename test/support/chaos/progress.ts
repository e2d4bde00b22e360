import { setTimeout as delay } from 'node:timers/promises'
import { fateOf } from '../../../infra/runtime/errors.ts'
import type { KafkaAdmin } from '../../../infra/runtime/kafka/kafka-admin.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { consumerGroup, stageTopic } from '../../../schemas/topics.ts'
import type { DrivenStage } from '../stage-driver.ts'

/** How far each stage has come: the ends of what it writes, for sinks what they have committed. */
export interface Progress {
  /** Resolves with the time, in ms from now, after which every lane of the stage has moved; never when they do not. */
  moved(stage: DrivenStage): Promise<number>
  stop(): Promise<void>
}

type Positions = ReadonlyMap<number, number>

interface Watcher {
  readonly stage: DrivenStage
  readonly since: number
  /** As they were in the first look after `since`. */
  from: Positions | null
  readonly resolve: (ms: number) => void
}

/** Looks every `intervalMs`; events must flow on every lane. */
export function watchProgress(pipeline: CompiledPipeline, admin: KafkaAdmin, intervalMs: number): Progress {
  const stopping = new AbortController()
  let watchers: Watcher[] = []

  async function positions(stage: DrivenStage): Promise<Positions> {
    if (stage !== 'sinks') {
      const topic = stageTopic(pipeline.name, stage === 'processors' ? 'features' : 'predictions')
      return new Map((await admin.ranges(topic)).map(({ partition, high }) => [partition, high]))
    }
    const group = consumerGroup(pipeline.name, 'sinks.predictions')
    const committed = await admin.committed(group, stageTopic(pipeline.name, 'predictions'))
    return new Map([...committed].map(([partition, offset]) => [partition, offset ?? 0]))
  }

  async function look(): Promise<void> {
    for (const stage of new Set(watchers.map((watcher) => watcher.stage))) {
      const asked = performance.now()
      const now = await positions(stage)
      for (const watcher of watchers.filter((each) => each.stage === stage && each.since <= asked)) {
        watcher.from ??= now
        const { from } = watcher
        if (now.size === 0 || [...now].some(([lane, at]) => at <= (from.get(lane) ?? 0))) continue
        watchers = watchers.filter((each) => each !== watcher)
        watcher.resolve(performance.now() - watcher.since)
      }
    }
  }

  const looking = (async () => {
    while (!stopping.signal.aborted) {
      try {
        await look()
      } catch (error) {
        // the broker is one of those that are killed
        if (fateOf(error) !== 'retry') throw error
      }
      await delay(intervalMs, undefined, { signal: stopping.signal }).catch(() => {})
    }
  })()

  return {
    moved: (stage) => new Promise((resolve) => watchers.push({ stage, since: performance.now(), from: null, resolve })),
    async stop() {
      stopping.abort()
      await looking
    },
  }
}

/** Null for an empty list. */
export function percentile(values: readonly number[], share: number): number | null {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? null
}
