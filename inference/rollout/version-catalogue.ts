import { createHash } from 'node:crypto'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../../infra/runtime/clock.ts'
import type { ControlLog, ControlRecord } from '../../infra/runtime/control/control-log.ts'
import { describeError, fatal } from '../../infra/runtime/errors.ts'
import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import type { ModelEntry, VersionOrigin } from '../../schemas/control/models.ts'
import { explainMisfit } from '../../schemas/pipeline/check-models.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { listModelVersions, type ModelManifest, readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { formatProblem } from '../../schemas/pipeline/problems.ts'
import { modelEntryOf } from '../models/model-entries.ts'

/** A version that could be loaded. */
export interface VersionSource {
  /** Its id in the version cache: another one when its files are others. */
  readonly id: string
  readonly version: string
  readonly featureSet: string
  /** SHA-256 of the model file, hex. */
  readonly digest: string
  readonly from:
    | { readonly kind: 'registered'; readonly entry: ModelEntry }
    | { readonly kind: 'bundled'; readonly manifest: ModelManifest }
}

const SHADOW = '#shadow'

/**
 * As a shadow a version is loaded apart from itself as one that answers: in another process, whose end is nobody's else.
 * Its id in the version cache then.
 */
export function shadowId(id: string): string {
  return `${id}${SHADOW}`
}

/** The id of the version itself, and whether it is loaded as a shadow. */
export function readVersionId(id: string): { readonly id: string; readonly isShadow: boolean } {
  const isShadow = id.endsWith(SHADOW)
  return { id: isShadow ? id.slice(0, -SHADOW.length) : id, isShadow }
}

/** The versions of the pipeline's model: those that are registered and not retired, and the folders beside the pipeline. */
export interface VersionCatalogue {
  /** Also a version that was there once. */
  byId(id: string): VersionSource | null
  /** By the name that a plan gives it, and where it says that it is; null = it does not say: of two the registered one, and that is logged. */
  named(version: string, from: VersionOrigin | null): VersionSource | null
  /** Those that take the feature set, highest version first; bundled ones before all others where that is asked for. */
  taking(featureSet: string, bundledFirst: boolean): readonly VersionSource[]
  /** Of the bundled versions, the highest for each feature set. */
  bundled(): readonly VersionSource[]
  /**
   * Looks for folders that have appeared or changed, at most once a second. One that cannot be used is logged, and left
   * alone until its files change; so is one whose version `isLoaded`.
   */
  rescan(isLoaded: (id: string) => boolean): void
}

const RESCAN_INTERVAL_MS = 1_000
const ID_HEX = 16
const byVersion = new Intl.Collator('en', { numeric: true })
const higherFirst = (a: VersionSource, b: VersionSource): number => byVersion.compare(b.version, a.version)

export interface CatalogueDeps {
  readonly pipeline: CompiledPipeline
  readonly control: ControlLog
  readonly clock: Clock
  readonly logger: Logger
}

/** Throws `invalid_model` (crash) when a folder beside the pipeline is no version of its model. */
export function createVersionCatalogue({ pipeline, control, clock, logger }: CatalogueDeps): VersionCatalogue {
  const { name: model, directory } = pipeline.model
  const folders = new Map<string, { readonly fingerprint: string; readonly source: VersionSource | null }>()
  const known = new Map<string, VersionSource>()
  /** Revisions of records that are no versions. */
  const passedOver = new Set<number>()
  /** Ids of registered versions that another one has the name of. */
  const saidTwice = new Set<string>()
  let scannedAt = clock.monotonic()

  function bundledIn(folder: string, fingerprint: string): VersionSource {
    const manifest = readModelManifest(folder)
    // another feature set is what versions are for; another name or output is not
    const problems = explainMisfit(pipeline, manifest, join(folder, 'manifest.json')).filter(
      ({ path }) => path !== 'input.features',
    )
    if (problems.length > 0) throw fatal('invalid_model', problems.map(formatProblem).join('\n'))
    const { version, sha256: digest, featureSet } = manifest
    const id = `${model}/${version}@${fingerprint.slice(0, ID_HEX)}`
    return { id, version, featureSet: featureSet.digest, digest, from: { kind: 'bundled', manifest } }
  }

  function look(folder: string): void {
    const fingerprint = fingerprintOf(folder)
    folders.set(folder, { fingerprint, source: null })
    const source = bundledIn(folder, fingerprint)
    folders.set(folder, { fingerprint, source })
    known.set(source.id, source)
  }

  /** A log that only grows keeps such a record for good: it must not stop anything. */
  function passOver({ name, revision }: ControlRecord): void {
    if (passedOver.has(revision)) return
    passedOver.add(revision)
    logger.error({ name, revision }, 'record of a model version passed over: it cannot be understood')
  }

  function registered(): readonly VersionSource[] {
    const sources: VersionSource[] = []
    for (const record of control.all('model').values()) {
      const entry = modelEntryOf(record)
      if (entry === null) passOver(record)
      if (entry?.model !== model || entry.state !== 'active') continue
      const { version, manifest, digest, featureSet } = entry
      const id = `${model}/${version}@${manifest.slice(0, ID_HEX)}`
      sources.push({ id, version, featureSet, digest, from: { kind: 'registered', entry } })
    }
    for (const source of sources) known.set(source.id, source)
    return sources.sort(higherFirst)
  }

  function sayTwice({ id, version, digest, featureSet }: VersionSource, own: VersionSource): void {
    const isSame = digest === own.digest && featureSet === own.featureSet
    if (isSame || saidTwice.has(id)) return
    saidTwice.add(id)
    const fields = { model, version, registered: digest, bundled: own.digest }
    logger.error(fields, 'two versions have one name: the plan does not say which, and the registered one is taken')
  }

  function bundled(): readonly VersionSource[] {
    return [...folders.values()]
      .map(({ source }) => source)
      .filter((source) => source !== null)
      .sort(higherFirst)
  }

  try {
    for (const folder of listModelVersions(directory)) look(folder)
  } catch (error) {
    throw fatal('invalid_model', (error as Error).message, error)
  }

  return {
    byId: (id) => known.get(id) ?? registered().find((source) => source.id === id) ?? null,
    named(version, from) {
      const isIt = (source: VersionSource): boolean => source.version === version
      const pushed = from === 'bundled' ? undefined : registered().find(isIt)
      const own = from === 'registered' ? undefined : bundled().find(isIt)
      if (pushed !== undefined && own !== undefined) sayTwice(pushed, own)
      return pushed ?? own ?? null
    },
    taking(featureSet, bundledFirst) {
      const [own, pushed] = [bundled(), registered()]
      const all = bundledFirst ? [...own, ...pushed] : [...pushed, ...own].sort(higherFirst)
      return all.filter((source) => source.featureSet === featureSet)
    },
    bundled() {
      const all = bundled()
      return all.filter((source, at) => all.findIndex(({ featureSet }) => featureSet === source.featureSet) === at)
    },
    rescan(isLoaded) {
      if (clock.monotonic() - scannedAt < RESCAN_INTERVAL_MS) return
      scannedAt = clock.monotonic()
      const present = listModelVersions(directory)
      for (const folder of folders.keys()) if (!present.includes(folder)) folders.delete(folder)
      for (const folder of present) {
        const before = folders.get(folder)
        try {
          if (before !== undefined && before.source !== null && isLoaded(before.source.id)) continue
          if (before?.fingerprint !== fingerprintOf(folder)) look(folder)
        } catch (error) {
          // the versions that are loaded go on; this one is looked at again when its files change
          logger.error({ ...describeError(error), folder }, 'new model version refused')
        }
      }
    },
  }
}

/** Changes when a file of the folder does. */
function fingerprintOf(folder: string): string {
  const files = readdirSync(folder)
    .map((name) => {
      const { size, mtimeMs } = statSync(join(folder, name))
      return `${name}:${size}:${mtimeMs}`
    })
    .sort()
  return createHash('sha256')
    .update([folder, ...files].join('\n'))
    .digest('hex')
}
