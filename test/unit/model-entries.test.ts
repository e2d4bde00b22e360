import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { promote } from '../../inference/commands/rollout-promote.ts'
import { knownVersion, knownVersions, modelEntryOf } from '../../inference/models/model-entries.ts'
import { createDirectoryStore } from '../../inference/models/store/directory-store.ts'
import { fetchVersion } from '../../inference/models/store/fetch-version.ts'
import { createVersionCatalogue } from '../../inference/rollout/version-catalogue.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { manualClock } from '../support/manual-clock.ts'
import { memoryControlLog } from '../support/memory-control-log.ts'

// What the control log says of models is never deleted: a record that is none must stop nobody.

const pipeline = await loadPipeline(path.resolve('infra/sample/flights'))
const MODEL = pipeline.model.name
const DIGEST = 'ab'.repeat(32)
const VALID = {
  model: MODEL,
  version: '7',
  manifest: DIGEST,
  digest: DIGEST,
  featureSet: pipeline.featureSet.digest,
  profiles: [{ provider: 'cpu', fixedUs: 20, rowUs: 0.5, tail: 1.2 }],
  state: 'active',
}

const INVALID: Readonly<Record<string, unknown>> = {
  'a null': null,
  'a text': 'x',
  'a list': [VALID],
  'no manifest': { ...VALID, manifest: undefined },
  'a path for a manifest': { ...VALID, manifest: '../model-store' },
  'a digest in capitals': { ...VALID, digest: DIGEST.toUpperCase() },
  'a path for a version': { ...VALID, version: '../7' },
  'another name than its record': { ...VALID, version: '8' },
  'no feature set': { ...VALID, featureSet: null },
  'no profiles': { ...VALID, profiles: null },
  'a profile that is null': { ...VALID, profiles: [null] },
  'a cost that is a text': { ...VALID, profiles: [{ ...VALID.profiles[0], rowUs: '1' }] },
  'an unknown state': { ...VALID, state: 'lost' },
}

test('a version as it is registered', () => {
  expect(modelEntryOf({ name: `${MODEL}/7`, value: VALID })).toBe(VALID)
})

test.each(Object.keys(INVALID))('%s is passed over, and logged once', async (what) => {
  const name = `${MODEL}/7`
  expect(modelEntryOf({ name, value: INVALID[what] })).toBe(null)

  const control = memoryControlLog()
  const errors: unknown[] = []
  const error = (fields: object): void => void errors.push(fields)
  const catalogue = createVersionCatalogue({
    pipeline,
    control,
    clock: manualClock(),
    logger: { ...silentLogger, error },
  })
  const by = { actor: 'test', reason: '' }
  await control.append({ kind: 'model', name, basedOn: null, value: INVALID[what], ...by })
  await control.append({ kind: 'model', name: `${MODEL}/9`, basedOn: null, value: { ...VALID, version: '9' }, ...by })
  expect(catalogue.named('7', null)).toBe(null)
  expect(catalogue.taking(VALID.featureSet, false).map(({ version }) => version)).toContain('9')
  expect(errors).toEqual([{ name, revision: 1 }])

  expect(knownVersions(control).map(({ entry }) => entry.version)).toEqual(['9'])
  expect(() => knownVersion(control, name)).toThrow(`there is no ${name}`)
  const terms = { model: MODEL, version: '7', deadlineMs: 1, guarded: false, bundled: false, ...by } as const
  await expect(promote(control, { ...terms, role: { as: 'production' } }, 0)).rejects.toMatchObject({
    code: 'unknown_version',
  })
})

test('what is no digest is refused before anything is looked for, or removed', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'millrace-entries-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const beside = path.join(folder, 'model-store')
  mkdirSync(beside)
  const store = createDirectoryStore(beside)
  for (const digest of ['../model-store', '', '.', DIGEST.toUpperCase(), `${DIGEST}/../../model-store`]) {
    await expect(fetchVersion(store, path.join(folder, 'cache'), digest)).rejects.toMatchObject({
      code: 'invalid_model',
      fate: 'crash',
    })
  }
  expect(existsSync(beside)).toBe(true)
  expect(existsSync(path.join(folder, 'cache'))).toBe(false)
})
