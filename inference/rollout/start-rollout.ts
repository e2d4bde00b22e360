import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { startControlLog } from '../../infra/runtime/control/start-control-log.ts'
import { describeError, fatal, fateOf, retryable } from '../../infra/runtime/errors.ts'
import type { Started } from '../../infra/runtime/lifecycle/scope.ts'
import { once } from '../../infra/runtime/stage-contracts.ts'
import type { StageContext } from '../../infra/runtime/stage-process.ts'
import { requireBundled } from '../models/require-bundled.ts'
import type { VersionCache } from '../models/version-cache.ts'
import { changeRollout } from './change-rollout.ts'
import { createCoordinator } from './coordinator.ts'
import { createRoutes, type RolloutRoutes } from './create-routes.ts'
import { createFailedVersions, type FailedVersions } from './failed-versions.ts'
import { createGuards, type GuardObserver, type Guards, type Violation } from './guards.ts'
import { createRolloutInstruments } from './instruments.ts'
import { createReadyReports, type ReadyReports } from './ready-reports.ts'
import { pipelinesOf, registerPipeline, scoringMembers } from './scoring-groups.ts'
import { createVersionCatalogue, type VersionCatalogue } from './version-catalogue.ts'

export interface RolloutOptions {
  /** Consumer group of this process. */
  readonly group: string
  /** True in the member of the group that decides on proposals: the one that owns the lowest partition. Null before this process has joined. */
  isCoordinator(): boolean | null
  /** Makes the cache of versions; it opens them by the ids of the catalogue, or as shadows by `shadowId`. */
  openCache(catalogue: VersionCatalogue): Promise<Started<VersionCache>>
}

export interface Rollout {
  readonly routes: RolloutRoutes
  readonly control: ControlLog
  /** To be told of everything that is scored. */
  readonly guards: GuardObserver
  /**
   * To be told of a version that fails whatever it is given (`model_failed`). True = it is taken out by itself, whether the plan has
   * guards or not, and the same work succeeds once it is; false = nothing can take its place.
   */
  failed(version: string, error: Error): boolean
}

const LOOK_MS = 500
const REPORT_MS = 1_000

/**
 * Follows the model's rollout: loads what it names, takes part in its decisions, guards it. Resolves when this process can serve:
 * the active plan is loaded, or without one the bundled versions are. Rejects with `invalid_model`, `no_model` (crash).
 */
export async function startRollout(context: StageContext, options: RolloutOptions): Promise<Rollout> {
  const { pipeline, clock, logger } = context
  const model = pipeline.model.name
  const control = await context.start('control log', () => startControlLog(context))
  context.watch({ ended: control.ended, health: { live: () => null, ready: () => control.problem() } })
  // before it serves: whoever decides from here on asks this pipeline too
  await once(context, 'pipeline on record', () => registerPipeline(control, pipeline, context.instance))
  const catalogue = createVersionCatalogue({ pipeline, control, clock, logger })
  const cache = await context.start('models', () => options.openCache(catalogue))
  const routes = createRoutes({ model, control, catalogue, cache, clock, logger })
  const guards = createGuards()
  const reports = await createReadyReports(context)
  const following = await context.start('rollout', async () =>
    startFollowing({ context, options, model, control, routes, guards, reports }),
  )
  context.watch({ ended: following.ended, health: { live: () => null, ready: () => routes.problem() } })
  await once(context, 'models that serve', async () => {
    await routes.loadBundled()
    const problem = routes.problem()
    if (problem !== null) throw retryable('models_not_loaded', problem)
  })
  requireVersion(context, catalogue, routes)
  return { routes, control, guards, failed: following.failed }
}

/** Refuses to start when nothing is known that takes what the pipeline computes. */
function requireVersion({ pipeline }: StageContext, catalogue: VersionCatalogue, routes: RolloutRoutes): void {
  const { featureSet, model } = pipeline
  // with a plan in force, what takes the feature set may be on its way
  if (catalogue.taking(featureSet.digest, true).length > 0 || routes.readyEpoch() > 0) return
  // says how those in the pipeline's folder differ
  requireBundled(pipeline)
  throw fatal(
    'no_model',
    `${model.directory}: no version of model ${model.name} takes the features of ${pipeline.name}`,
  )
}

interface FollowingParts {
  readonly context: StageContext
  readonly options: RolloutOptions
  readonly model: string
  readonly control: ControlLog
  readonly routes: RolloutRoutes
  readonly guards: Guards
  readonly reports: ReadyReports
}

interface Following {
  readonly ended: Promise<void>
  readonly failed: FailedVersions['add']
}

async function startFollowing(parts: FollowingParts): Promise<Started<Following>> {
  const { context, options, model, control, routes, guards, reports } = parts
  const { admin, clock, instance, logger, metrics, pipeline } = context
  const stopping = new AbortController()
  let wake = new AbortController()
  let reportedAt = Number.NEGATIVE_INFINITY
  let reported = -1
  const decide = createCoordinator({
    ...{ model, control, clock, logger, instance, group: options.group },
    // of this one in any case: another version of it may say that it uses another model
    members: () => scoringMembers(admin, new Set([pipeline.name, ...pipelinesOf(control, model)])),
    readyEpochs: () => reports.read(),
    waiting: () => (options.isCoordinator() === null && routes.problem() !== null ? routes.readyEpoch() : null),
  })

  const instruments = createRolloutInstruments(metrics, logger, model)
  instruments.began(routes.rollout())
  const failed = createFailedVersions({ rollout: routes.rollout, onFailed: () => wake.abort() })

  const unwatch = control.watch(({ kind, name }) => {
    if (kind !== 'model' && (kind !== 'rollout' || name !== model)) return
    routes.follow(true)
    const rollout = routes.rollout()
    if (kind === 'rollout' && rollout !== null) instruments.changed(rollout)
    wake.abort()
  })

  async function report(isPending: boolean): Promise<void> {
    const epoch = routes.readyEpoch()
    const isDue = isPending && clock.monotonic() - reportedAt >= REPORT_MS
    if (epoch === reported && !isDue) return
    reported = epoch
    reportedAt = clock.monotonic()
    await reports.say(epoch)
  }

  async function rollBack({ version, evidence }: Violation): Promise<void> {
    logger.error({ model, ...evidence }, 'a guard takes the version out')
    const by = { actor: instance, reason: `guard: ${String(evidence['guard'])}` }
    const full = { ...evidence, instance }
    await changeRollout(control, model, by, () => ({ to: 'roll back', version, evidence: full }))
  }

  async function look(): Promise<void> {
    routes.follow(false)
    for (const failure of failed.take()) await rollBack(failure)
    const isPending = (routes.rollout()?.proposed ?? null) !== null
    await report(isPending)
    const decides = options.isCoordinator() ?? routes.problem() !== null
    if (isPending && decides) await decide()
    else reports.forget()
    const violation = guards.judge(routes.rollout(), clock.monotonic())
    if (violation !== null) await rollBack(violation)
  }

  async function follow(): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        await look()
      } catch (error) {
        // somebody else was faster, or brokers are away
        if (fateOf(error) === 'crash') throw error
        logger.warn(describeError(error), 'the rollout could not be followed for a moment')
      }
      await clock.sleep(LOOK_MS, wake.signal)
      if (wake.signal.aborted && !stopping.signal.aborted) wake = new AbortController()
    }
  }

  const ended = follow()
  ended.catch(() => {})
  return {
    value: { ended, failed: failed.add },
    async stop() {
      unwatch()
      stopping.abort()
      wake.abort()
      await ended.catch(() => {})
    },
  }
}
