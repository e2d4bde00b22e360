import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { listVersions } from '../../inference/commands/model-list.ts'
import { promote } from '../../inference/commands/rollout-promote.ts'
import { requireFreeName } from '../../inference/models/require-free-name.ts'
import { readRollout } from '../../inference/rollout/read-rollout.ts'
import { createVersionCatalogue } from '../../inference/rollout/version-catalogue.ts'
import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { digestOfFile } from '../../schemas/file-digest.ts'
import { readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { eventually } from '../support/eventually.ts'
import { manualClock } from '../support/manual-clock.ts'
import { memoryControlLog } from '../support/memory-control-log.ts'
import {
  activate,
  BY,
  digestOf,
  FEATURES,
  MODEL,
  pipeline,
  propose,
  register,
  SOON,
  stage,
  step,
} from '../support/rollout-stage.ts'
import { addVersion, withModels } from '../support/scoring.ts'

// A version in a pipeline's folder and a registered one may have one name: what serves says which.

const BUNDLED = readModelManifest(join(pipeline.model.directory, '1')).sha256

function promoted(control: ControlLog, version: string, bundled: boolean): Promise<number> {
  const terms = { deadlineMs: 1_000, guarded: false, role: { as: 'production' } } as const
  return promote(control, { model: MODEL, version, bundled, ...terms, ...BY }, 0)
}

/** An entry as it was written before plans said where their versions are. */
async function activatedBefore(control: ControlLog, production: string): Promise<void> {
  const active = { epoch: 1, production, candidate: null, shadow: null, guards: null }
  const value = { step: 'activated', lastEpoch: 1, active, previous: null, proposed: null, evidence: null }
  await control.append({ kind: 'rollout', name: MODEL, basedOn: null, value, ...BY })
}

const activeOf = (control: ControlLog) => readRollout(control, MODEL).entry?.active

function digestServed({ routes }: ReturnType<typeof stage>): string | undefined {
  const route = routes.acquire(FEATURES)
  route?.release()
  return route?.primary.manifest.sha256
}

test('a version that is pushed under the name of one that serves from the folder changes nothing, until it is promoted', async () => {
  const control = memoryControlLog()
  const { directory } = withModels(pipeline)
  const one = stage(control, directory)
  await one.routes.loadBundled()
  await step(control, { to: 'activate', epoch: await promoted(control, '1', true) })
  await register(control, '1')
  await register(control, '2')
  expect(listVersions(control, MODEL).map(({ roles }) => roles)).toEqual([[], []])
  // entries about the same plan, each of which reads it anew
  await step(control, { to: 'stall', epoch: await propose(control, '2'), evidence: {} })
  await activate(control, '2', { as: 'candidate', weight: 1_000 })
  await step(control, { to: 'pause' })
  const joining = stage(control, directory)
  for (const process of [one, joining]) await eventually(() => expect(digestServed(process)).toBe(BUNDLED), SOON)

  const epoch = await promoted(control, '1', false)
  await eventually(() => expect(one.routes.readyEpoch()).toBe(epoch), SOON)
  expect(digestServed(one)).toBe(BUNDLED)
  await step(control, { to: 'activate', epoch })
  await eventually(() => expect(digestServed(one)).toBe(digestOf('1')), SOON)
  expect(listVersions(control, MODEL).map(({ roles }) => roles)).toEqual([
    ['production'],
    ['candidate', 'previous candidate'],
  ])
  await step(control, { to: 'roll back', version: null, evidence: null })
  await eventually(() => expect(digestServed(one)).toBe(BUNDLED), SOON)
})

test('a plan that names a version in the folder does not take a registered one in its place', async () => {
  const control = memoryControlLog()
  await register(control, '1')
  const one = stage(control, '/nowhere')
  await step(control, { to: 'activate', epoch: await promoted(control, '1', true) })
  const joining = stage(control, '/nowhere')
  joining.routes.follow(false)
  expect([one.routes.readyEpoch(), joining.routes.readyEpoch()]).toEqual([0, 0])
  expect(joining.routes.problem()).toMatch('version 1 is not bundled')
})

test('a plan that does not say which means the registered one, which is logged once where the two differ', async () => {
  const control = memoryControlLog()
  const errors: unknown[] = []
  const { directory } = withModels(pipeline)
  const catalogue = createVersionCatalogue({
    pipeline: { ...pipeline, model: { ...pipeline.model, directory } },
    control,
    clock: manualClock(),
    logger: { ...silentLogger, error: (fields: object) => void errors.push(fields) },
  })
  expect(catalogue.named('1', null)?.digest).toBe(BUNDLED)
  await register(control, '1')
  const digests = ([null, null, 'registered', 'bundled'] as const).map((from) => catalogue.named('1', from)?.digest)
  expect(digests).toEqual([digestOf('1'), digestOf('1'), digestOf('1'), BUNDLED])
  expect(errors).toEqual([{ model: MODEL, version: '1', registered: digestOf('1'), bundled: BUNDLED }])
})

test('the next promotion says of every version where it is', async () => {
  const control = memoryControlLog()
  await activatedBefore(control, '1')
  await register(control, '2')
  await activate(control, '2', { as: 'candidate', weight: 1_000 })
  expect(activeOf(control)?.sources).toEqual({ '1': 'bundled', '2': 'registered' })
  await activate(control, '2')
  expect(activeOf(control)?.sources).toEqual({ '2': 'registered' })
  // another version of that name: what served is returned to
  await step(control, { to: 'activate', epoch: await promoted(control, '2', true) })
  expect(activeOf(control)?.sources).toEqual({ '2': 'bundled' })
  await step(control, { to: 'roll back', version: null, evidence: null })
  expect(activeOf(control)?.sources).toEqual({ '2': 'registered' })
})

test('a place that is not known is not understood', async () => {
  const control = memoryControlLog()
  await register(control, '1')
  await activate(control, '1')
  const { entry, revision } = readRollout(control, MODEL)
  const value = { ...entry, active: { ...entry?.active, sources: { '1': 'elsewhere' } } }
  await control.append({ kind: 'rollout', name: MODEL, basedOn: revision, value, ...BY })
  expect(readRollout(control, MODEL)).toMatchObject({ entry: null, isUnknown: true })
})

test('the name of a version in a folder is taken for all content but its own', async () => {
  const control = memoryControlLog()
  const own = withModels(pipeline)
  const check = async (folder: string, by = own): Promise<void> =>
    requireFreeName(control, by, readModelManifest(folder), (await digestOfFile(join(folder, 'manifest.json'))).sha256)
  const elsewhere = join(own.directory, '.pushed')
  mkdirSync(elsewhere)
  const same = addVersion(elsewhere, '1')
  await check(same)
  const other = addVersion(elsewhere, '1', { edit: (manifest) => void manifest.golden.pop() })
  await expect(check(other)).rejects.toMatchObject({ code: 'version_taken' })
  await check(addVersion(elsewhere, '2'))
  // one that serves from a folder that is not known here
  rmSync(join(own.directory, '1'), { recursive: true })
  await check(other)
  await activatedBefore(control, '1')
  await expect(check(other)).rejects.toMatchObject({ code: 'version_taken' })
})
