import path from 'node:path'
import { expect, onTestFinished } from 'vitest'
import { promote } from '../../inference/commands/rollout-promote.ts'
import { createVersionCache } from '../../inference/models/create-version-cache.ts'
import { changeRollout } from '../../inference/rollout/change-rollout.ts'
import { createRoutes, type RolloutRoutes } from '../../inference/rollout/create-routes.ts'
import type { Role, RolloutRequest } from '../../inference/rollout/rollout-state.ts'
import type { HeldRoute } from '../../inference/rollout/routes.ts'
import { createVersionCatalogue, readVersionId } from '../../inference/rollout/version-catalogue.ts'
import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { fatal } from '../../infra/runtime/errors.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { ModelEntry } from '../../schemas/control/models.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import { eventually } from './eventually.ts'
import { manualClock } from './manual-clock.ts'

const FLIGHTS = path.resolve('infra/sample/flights')
export const pipeline = await loadPipeline(FLIGHTS)
export const MODEL = pipeline.model.name
export const FEATURES = pipeline.featureSet.digest
export const OTHER = 'other-features'
export const BY = { actor: 'test', reason: '' }

interface Stage {
  readonly routes: RolloutRoutes
  readonly closed: string[]
  /** Lets a version (by name) load, or fail. */
  readonly broken: Map<string, Error>
  readonly gates: Map<string, Promise<void>>
  /** Epochs of plans, as they were said to be in force. */
  readonly inForce: number[]
  /** Versions whose load failed, in order. */
  readonly failed: string[]
  /** Versions that were warned of. */
  readonly warned: unknown[]
  advance(ms: number): void
}

export const digestOf = (version: string): string => version.padStart(8, '0').repeat(8)

export function stage(control: ControlLog, directory: string): Stage {
  const clock = manualClock()
  const inForce: number[] = []
  const info = (fields: object, message: string): void => {
    if (message === 'rollout plan in force') inForce.push((fields as { readonly epoch: number }).epoch)
  }
  const warned: unknown[] = []
  const warn = (fields: object): void => void warned.push((fields as { readonly version: unknown }).version)
  const deps = { control, clock, logger: { ...silentLogger, info, warn } }
  const catalogue = createVersionCatalogue({
    ...deps,
    pipeline: { ...pipeline, model: { ...pipeline.model, directory } },
  })
  const broken = new Map<string, Error>()
  const gates = new Map<string, Promise<void>>()
  const closed: string[] = []
  const failed: string[] = []
  const cache = createVersionCache({
    async open(id) {
      const { id: versionId, isShadow } = readVersionId(id)
      const source = catalogue.byId(versionId)
      if (source === null) throw fatal('unknown_version', id)
      const { version } = source
      await gates.get(version)
      const error = broken.get(version)
      if (error !== undefined) {
        failed.push(version)
        throw error
      }
      const manifest = {
        name: MODEL,
        version,
        sha256: source.digest,
        featureSet: { digest: source.featureSet },
      } as ModelManifest
      const batcher = { pending: 0, submit: () => Promise.reject(new Error('not here')) }
      const close = async (): Promise<void> => void closed.push(isShadow ? `${version} as a shadow` : version)
      return { version: { manifest, width: 1, batcher }, bytes: () => 1, staysIdle: !isShadow, close }
    },
    maxBytes: 1,
    clock,
    logger: silentLogger,
    observer: { resident: () => {}, loaded: () => {}, evicted: () => {} },
  })
  const routes = createRoutes({ ...deps, model: MODEL, catalogue, cache })
  const unwatch = control.watch(() => routes.follow(true))
  onTestFinished(unwatch)
  onTestFinished(() => cache.close())
  routes.follow(false)
  return { routes, closed, broken, gates, inForce, failed, warned, advance: clock.advance }
}

export async function register(control: ControlLog, version: string, featureSet = FEATURES): Promise<void> {
  const digest = digestOf(version)
  const value: ModelEntry = {
    model: MODEL,
    version,
    manifest: digest,
    digest,
    featureSet,
    profiles: [],
    state: 'active',
  }
  await control.append({ kind: 'model', name: `${MODEL}/${version}`, basedOn: null, value, ...BY })
}

export async function propose(
  control: ControlLog,
  version: string,
  role: Role = { as: 'production' },
): Promise<number> {
  const terms = { deadlineMs: 1_000, guarded: false, bundled: false }
  return await promote(control, { model: MODEL, version, role, ...terms, ...BY }, 0)
}

export const step = (control: ControlLog, request: RolloutRequest) => changeRollout(control, MODEL, BY, () => request)

export async function activate(control: ControlLog, version: string, role?: Role): Promise<void> {
  await step(control, { to: 'activate', epoch: await propose(control, version, role) })
}

export const SOON = { deadlineMs: 30_000 }

/** The versions of the route: primary+canary@weight~shadow. */
export function text(route: HeldRoute | null): string | null {
  if (route === null) return null
  const { primary, canary, shadow } = route
  const name = canary === null ? '' : `+${canary.version.manifest.version}@${canary.weight}`
  return `${primary.manifest.version}${name}${shadow === null ? '' : `~${shadow.version.manifest.version}`}`
}

export function answers({ routes }: Stage, featureSet = FEATURES): string | null {
  const route = routes.acquire(featureSet)
  route?.release()
  return text(route)
}

export const becomes = (one: Stage, expected: string | null, featureSet = FEATURES) =>
  eventually(() => expect(answers(one, featureSet)).toBe(expected), SOON)
