import { isDeepStrictEqual } from 'node:util'
import type { Clock } from '../../infra/runtime/clock.ts'
import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import type { RolloutEntry, RolloutPlan } from '../../schemas/control/models.ts'
import type { HeldVersion, VersionCache } from '../models/version-cache.ts'
import { shareSeed } from './entity-bucket.ts'
import { readRollout } from './read-rollout.ts'
import { versionsOf } from './rollout-state.ts'
import type { HeldRoute, RouteShare, Routes } from './routes.ts'
import { shadowId, type VersionCatalogue, type VersionSource } from './version-catalogue.ts'
import { createVersionLoads } from './version-loads.ts'

export interface RolloutRoutes extends Routes {
  /** Highest epoch whose versions are loaded here; 0 before the first plan. */
  readyEpoch(): number
  /** What the log says; what it said before where the latest record is not understood. */
  rollout(): RolloutEntry | null
  /** Brings what is loaded in line with the log and the catalogue. Call it when the log has changed, and once a second. */
  follow(logHasChanged: boolean): void
  /** Loads the bundled versions when no plan is in force. Rejects with what a load rejects with. */
  loadBundled(): Promise<void>
}

export interface RoutesDeps {
  readonly model: string
  readonly control: ControlLog
  readonly catalogue: VersionCatalogue
  readonly cache: VersionCache
  readonly clock: Clock
  readonly logger: Logger
}

/** A plan in force, its versions found. */
interface Serving {
  readonly plan: RolloutPlan
  readonly production: VersionSource
  readonly candidate: VersionSource | null
  readonly shadow: VersionSource | null
}

/** Who answers a feature set, by ids. */
interface Target {
  readonly primary: string
  readonly canary: TargetShare | null
  readonly shadow: TargetShare | null
}

interface TargetShare {
  readonly id: string
  readonly weight: number
  readonly seed: number
}

export function createRoutes({ model, control, catalogue, cache, clock, logger }: RoutesDeps): RolloutRoutes {
  const loads = createVersionLoads({ cache, clock, logger, onChange: () => follow(false) })
  let { entry, isUnknown } = readRollout(control, model)
  /** Joined while a plan was in force: nothing else may answer before it is loaded. What is not understood may be one. */
  const joinsPlan = isUnknown || (entry !== null && entry.active !== null)
  let serving: Serving | null = null
  /** Epoch that a rollback came with: what was served before must go at once. */
  let returnedTo: number | null = null
  /** Version that the last rollback took out, until a plan names it again. */
  let takenOut: string | null = null
  /** Versions outside the plan that were said to answer. */
  const saidOutside = new Set<string>()
  /** By feature set; begun anew whenever anything has changed. */
  let targets = new Map<string, Target>()

  function named({ sources }: RolloutPlan, version: string): VersionSource | null {
    return catalogue.named(version, sources?.[version] ?? null)
  }

  function shadowOf(plan: RolloutPlan): VersionSource | null {
    const source = plan.shadow === null ? null : named(plan, plan.shadow.version)
    return source === null ? null : { ...source, id: shadowId(source.id) }
  }

  /** What a plan needs; null = it is not there. */
  function sourcesOf(plan: RolloutPlan): readonly (VersionSource | null)[] {
    const { production, candidate, shadow } = plan
    return [
      named(plan, production),
      ...(candidate === null ? [] : [named(plan, candidate.version)]),
      ...(shadow === null ? [] : [shadowOf(plan)]),
    ]
  }

  function find(plan: RolloutPlan): Serving | null {
    const production = named(plan, plan.production)
    const candidate = plan.candidate === null ? null : named(plan, plan.candidate.version)
    const shadow = shadowOf(plan)
    if (production === null) return null
    const isWhole = (plan.candidate === null) === (candidate === null)
    const next = { plan, production, candidate, shadow }
    if (plan.epoch !== returnedTo) return isWhole ? next : null
    // its candidate follows
    return isWhole && answers(next) ? next : { ...next, candidate: null }
  }

  noteRollback()

  /** A shadow answers nothing, so serving does not wait for it. */
  const answers = ({ production, candidate }: Serving): boolean =>
    loads.isLoaded(production.id) && (candidate === null || loads.isLoaded(candidate.id))

  function hasAll(plan: RolloutPlan): boolean {
    return sourcesOf(plan).every((source) => source !== null && loads.isLoaded(source.id))
  }

  function pinAndLoad(): void {
    const { active = null, proposed = null, previous = null } = entry ?? {}
    const named = [
      ...(active === null ? [] : sourcesOf(active)),
      ...(proposed === null ? [] : sourcesOf(proposed.plan)),
      // a rollback is at once
      ...(previous === null ? [] : sourcesOf({ ...previous, shadow: null })),
    ]
    const wanted = named.filter((source) => source !== null).map(({ id }) => id)
    const serves = [serving?.production, serving?.candidate, serving?.shadow].map((source) => source?.id)
    const bundled = active === null ? catalogue.bundled().map(({ id }) => id) : []
    cache.pin([...wanted, ...serves.filter((id) => id !== undefined), ...bundled])
    for (const id of [...wanted, ...bundled]) void loads.want(id)
  }

  function noteRollback(): void {
    if (entry === null) return
    const { step, active, proposed, evidence } = entry
    if (step === 'rolled_back') {
      returnedTo = active?.epoch ?? null
      const { version } = evidence ?? {}
      takenOut = typeof version === 'string' ? version : null
    }
    const named = [active, proposed?.plan ?? null].flatMap((plan) => (plan === null ? [] : versionsOf(plan)))
    if (takenOut !== null && named.includes(takenOut)) takenOut = null
  }

  function follow(logHasChanged: boolean): void {
    if (logHasChanged) {
      const read = readRollout(control, model)
      if (!read.isUnknown) entry = read.entry
      else if (!isUnknown) logger.error({ model, revision: read.revision }, 'the rollout on record is not understood')
      isUnknown = read.isUnknown
      noteRollback()
      loads.forgive()
    }
    catalogue.rescan(loads.isLoaded)
    // pinned before it is asked whether they are loaded: they stay so
    pinAndLoad()
    const { active = null } = entry ?? {}
    const next = active === null ? null : find(active)
    const isServed = next?.plan === serving?.plan && next?.candidate?.id === serving?.candidate?.id
    if (next !== null && !isServed && answers(next)) {
      // an entry about a proposal says the active plan once more
      const isOther = !isDeepStrictEqual(next.plan, serving?.plan)
      serving = next
      pinAndLoad()
      const { epoch, production, candidate, shadow } = next.plan
      if (isOther) logger.info({ model, epoch, production, candidate, shadow }, 'rollout plan in force')
    }
    targets = new Map()
  }

  /** Null when nothing that is loaded takes the feature set; what could is loaded then. */
  function choose(featureSet: string): Target | null {
    if (serving !== null) {
      const { production, candidate } = serving
      if (production.featureSet === featureSet) return targetOf(serving, production, candidate)
      if (candidate?.featureSet === featureSet) return targetOf(serving, candidate, null)
    } else if (joinsPlan) return null
    const previous = entry?.previous ? named(entry.previous, entry.previous.production) : null
    const taking = [previous, ...catalogue.taking(featureSet, serving === null)].filter(
      (source) => source?.featureSet === featureSet && source.version !== takenOut,
    ) as readonly VersionSource[]
    const wanted = taking.find(({ id }) => loads.failure(id) === null) ?? taking[0]
    if (wanted !== undefined) void loads.want(wanted.id)
    const primary = taking.find(({ id }) => loads.isLoaded(id))
    if (serving !== null && primary !== undefined && !saidOutside.has(primary.id)) {
      saidOutside.add(primary.id)
      const { version } = primary
      logger.warn(
        { model, version, featureSet },
        'a version outside the plan answers a feature set that no version in it takes',
      )
    }
    return primary === undefined ? null : { primary: primary.id, canary: null, shadow: null }
  }

  function targetOf({ plan, shadow }: Serving, primary: VersionSource, canary: VersionSource | null): Target {
    const { featureSet } = primary
    const weight = plan.candidate === null || plan.candidate.paused ? 0 : plan.candidate.weight
    return {
      primary: primary.id,
      canary: canary?.featureSet === featureSet ? shareOf(canary, weight) : null,
      shadow: shadow?.featureSet === featureSet ? shareOf(shadow, plan.shadow?.share ?? 0) : null,
    }
  }

  function hold(id: string): HeldVersion | null {
    const held = cache.hold(id)
    if (held !== null) return held
    void loads.want(id)
    return null
  }

  return {
    acquire(featureSet) {
      const target = targets.get(featureSet) ?? choose(featureSet)
      if (target === null) return null
      targets.set(featureSet, target)
      const primary = hold(target.primary)
      const canary = target.canary === null ? null : hold(target.canary.id)
      if (primary === null || (canary === null) !== (target.canary === null)) {
        primary?.release()
        canary?.release()
        targets.delete(featureSet)
        return null
      }
      const shadow = target.shadow === null ? null : hold(target.shadow.id)
      return heldRoute(primary, shareWith(target.canary, canary), shareWith(target.shadow, shadow), [canary, shadow])
    },
    problem() {
      if (!joinsPlan || serving !== null) return null
      const { active = null } = entry ?? {}
      if (active === null && isUnknown) return 'what the control log says of the rollout is not understood'
      if (active === null) return 'there is no rollout plan any more'
      const reasons = versionsOf(active).map((version) => {
        const source = named(active, version)
        if (source === null) return `version ${version} is not ${active.sources?.[version] ?? 'there'}`
        const failure = loads.failure(source.id)
        return failure === null ? null : `version ${version}: ${failure.message}`
      })
      const why = reasons.find((reason) => reason !== null) ?? 'it is on its way'
      return `the versions of epoch ${active.epoch} are not loaded: ${why}`
    },
    readyEpoch() {
      const { proposed = null } = entry ?? {}
      if (proposed !== null && hasAll(proposed.plan)) return proposed.plan.epoch
      return serving?.plan.epoch ?? 0
    },
    rollout: () => entry,
    follow,
    async loadBundled() {
      follow(false)
      if (joinsPlan) return
      for (const { id } of catalogue.bundled()) {
        await loads.want(id)
        const failure = loads.failure(id)
        if (failure !== null) throw failure
      }
    },
  }
}

function shareOf({ id, digest }: VersionSource, weight: number): TargetShare | null {
  return weight === 0 ? null : { id, weight, seed: shareSeed(digest) }
}

function shareWith(share: TargetShare | null, held: HeldVersion | null): RouteShare | null {
  return share === null || held === null ? null : { version: held.version, weight: share.weight, seed: share.seed }
}

function heldRoute(
  primary: HeldVersion,
  canary: RouteShare | null,
  shadow: RouteShare | null,
  others: readonly (HeldVersion | null)[],
): HeldRoute {
  return {
    primary: primary.version,
    canary,
    shadow,
    release() {
      primary.release()
      for (const held of others) held?.release()
    },
  }
}
