import { createVersionCache } from '../../inference/models/create-version-cache.ts'
import type { OpenedVersion } from '../../inference/models/version-cache.ts'
import { startRollout } from '../../inference/rollout/start-rollout.ts'
import { readVersionId, type VersionSource } from '../../inference/rollout/version-catalogue.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { fatal } from '../../infra/runtime/errors.ts'
import { joinStageGroup } from '../../infra/runtime/stage-lanes.ts'
import { runStage } from '../../infra/runtime/stage-process.ts'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import { consumerGroup, stageTopic } from '../../schemas/topics.ts'

/*
 * A member of the inference group that follows its model's rollout and scores nothing. Of its versions, by environment:
 * BROKEN_VERSION does not load, SLOW_VERSION takes a second for it, FAILING_VERSION fails on every tenth row.
 */

const env = process.env
const SLOW_MS = 1_000
const FED_ROWS = 100
const FEED_MS = 50

async function open({ version, digest, featureSet }: VersionSource): Promise<OpenedVersion> {
  if (version === env['BROKEN_VERSION']) throw fatal('invalid_model', 'its golden rows differ')
  if (version === env['SLOW_VERSION']) await systemClock.sleep(SLOW_MS)
  const manifest = { name: 'model', version, sha256: digest, featureSet: { digest: featureSet } } as ModelManifest
  const batcher = { pending: 0, submit: () => Promise.reject(new Error('nothing is scored here')) }
  return { version: { manifest, width: 1, batcher }, bytes: () => 1, staysIdle: true, close: async () => {} }
}

await runStage('inference', {}, async (context) => {
  const { clock, logger, pipeline } = context
  const group = consumerGroup(pipeline.name, 'inference')
  const owned = new Set<number>()
  const rollout = await startRollout(context, {
    group,
    isCoordinator: () => owned.has(0),
    async openCache(catalogue) {
      const cache = createVersionCache({
        async open(id) {
          const source = catalogue.byId(readVersionId(id).id)
          if (source === null) throw fatal('unknown_version', id)
          const opened = await open(source)
          logger.info({ version: source.version, digest: source.digest }, 'version opened')
          return opened
        },
        maxBytes: 1_000,
        clock,
        logger,
        observer: { resident: () => {}, loaded: () => {}, evicted: () => {} },
      })
      return { value: cache, stop: () => cache.close() }
    },
  })

  const lanes = { name: 'inference', group, topic: stageTopic(pipeline.name, 'features'), logger }
  const hooks = {
    async open(partition: number, { offset }: { readonly offset: number }) {
      owned.add(partition)
      return offset
    },
    async close(partition: number) {
      owned.delete(partition)
    },
  }
  const source = await context.start('lanes', () => joinStageGroup(context, lanes, hooks, async () => 0))
  void source.take({ maxRows: 1, maxBytes: 1, lingerMs: 0 })

  const failing = env['FAILING_VERSION']
  const feeding = setInterval(() => {
    const plan = rollout.routes.rollout()?.active
    for (const version of [plan?.production, plan?.candidate?.version]) {
      const failed = version === failing ? FED_ROWS / 10 : 0
      if (version !== undefined)
        rollout.guards.scored(version, new Float32Array(FED_ROWS), FED_ROWS, failed, 0, 1, FED_ROWS)
    }
  }, FEED_MS)
  await context.start('feeding', async () => ({ value: null, stop: async () => clearInterval(feeding) }))
})
