import { performance } from 'node:perf_hooks'
import { openModelSession } from '../models/model-session.ts'
import type { Executor, PreparedModel } from './executor.ts'
import type { Provider } from './run-rows.ts'

/**
 * Runs models on this thread: nothing is handed over, and nothing can be ended. For models that are known to answer, soon.
 */
export function createInlineExecutor({ provider }: { readonly provider: Provider }): Executor {
  const models = new Set<PreparedModel>()
  let runs = 0

  return {
    kind: 'inline',
    provider,
    depth: 1,
    async prepare(manifest) {
      const session = await openModelSession(manifest, provider)
      const model: PreparedModel = {
        manifest,
        async run(rows) {
          let startedAt = performance.now()
          // the runtime runs it in an immediate: this one is reached just before, when the thread is free
          setImmediate(() => {
            startedAt = performance.now()
          })
          try {
            const outputs = await session.run(rows)
            return { outputs, tookMs: performance.now() - startedAt }
          } finally {
            runs++
          }
        },
        async retire() {
          models.delete(model)
          await session.release()
        },
      }
      models.add(model)
      return model
    },
    stats: () => ({
      models: models.size,
      runs,
      restarts: { crash: 0, timeout: 0, memory: 0, killed: 0, recycled: 0 },
      residentBytes: null,
    }),
    async close() {
      for (const model of [...models]) await model.retire()
    },
  }
}
