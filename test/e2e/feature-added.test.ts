import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, inject, test } from 'vitest'
import { readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { eventually } from '../support/eventually.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { type RunningPipeline, runPipeline } from '../support/running-pipeline.ts'
import { spawnNode } from '../support/spawn-process.ts'

/** A replay that the test ends. */
const MANY = 100_000
const RATE = '300'
const DEADLINE_MS = 180_000
/** Of each version at least. */
const SHARE = 500
const OLD_SET = readModelManifest(path.join(FLIGHTS, 'models/1')).featureSet.digest
/** Trained on the features of version 1 and `dewp`. */
const NEW_MODEL = path.resolve(import.meta.dirname, '../fixtures/models/flight-delay-2')
const NEW_SET = readModelManifest(NEW_MODEL).featureSet.digest

test('a feature before its model: its vectors wait until the model is there, nothing is given up', {
  timeout: 5 * DEADLINE_MS,
}, async () => {
  const { env } = inject('stack')
  const { folder } = copyPipeline(FLIGHTS)
  const run = await runPipeline(folder, env)
  const flow = run.replay({ limit: MANY, rate: RATE })
  await predicted(run, '1', SHARE)

  addFeature(folder)
  await restart(run, 'processors')
  await eventually(() => expect(logOf(run, 'inference')).toMatch(/no_model_for_feature_set/), {
    deadlineMs: DEADLINE_MS,
  })
  addModel(folder)
  await predicted(run, '2', SHARE)

  await flow.stop()
  await expectAllPredicted(run)
  expect(run.stage('inference').restarts).toBe(0)

  // the views follow when they are made again: old rows have no such feature
  const migrate = spawnNode(['infra/cli/main.ts', 'migrate', folder], { env })
  expect(await migrate.exited, migrate.output()).toBe(0)
  const [filled] = await run.clickhouse.rows(
    `SELECT countIf(isNotNull(dewp) AND model_version = '1') AS old, countIf(isNotNull(dewp)) > 0 AS new
     FROM ${run.pipeline.name.replaceAll('-', '_')}_predictions`,
  )
  expect(filled).toEqual({ old: '0', new: 1 })
})

test('a model before its feature: the old vectors are finished by the old model', {
  timeout: 5 * DEADLINE_MS,
}, async () => {
  const { folder } = copyPipeline(FLIGHTS)
  const run = await runPipeline(folder, inject('stack').env)
  const flow = run.replay({ limit: MANY, rate: RATE })
  await predicted(run, '1', SHARE)

  addModel(folder)
  addFeature(folder)
  await restart(run, 'inference')
  await predicted(run, '1', (await run.account()).predicted + SHARE)
  await restart(run, 'processors')
  await predicted(run, '2', SHARE)

  await flow.stop()
  await expectAllPredicted(run)
  expect(logOf(run, 'inference')).not.toMatch(/no_model_for_feature_set/)
})

function addFeature(folder: string): void {
  const file = path.join(folder, 'pipeline.ts')
  const source = readFileSync(file, 'utf8')
  const last = "visib: lookup('weather', 'visib', { by: atDeparture }),"
  expect(source).toContain(last)
  writeFileSync(file, source.replace(last, `${last}\n    dewp: lookup('weather', 'dewp', { by: atDeparture }),`))
}

function addModel(folder: string): void {
  cpSync(NEW_MODEL, path.join(folder, 'models/2'), { recursive: true })
}

async function restart(run: RunningPipeline, name: 'processors' | 'inference'): Promise<void> {
  await run.stage(name).stop()
  run.stage(name).start()
}

function logOf(run: RunningPipeline, name: 'inference'): string {
  return readFileSync(run.stage(name).logFile, 'utf8')
}

/** Waits until that many events have a prediction of the version. */
async function predicted(run: RunningPipeline, version: string, atLeast: number): Promise<void> {
  const byVersion = async (): Promise<number> => {
    const [row] = await run.clickhouse.rows<{ n: string }>(
      'SELECT count() AS n FROM predictions FINAL WHERE pipeline = {name:String} AND model_version = {version:String}',
      { name: run.pipeline.name, version },
    )
    return Number(row?.n)
  }
  await eventually(async () => expect(await byVersion()).toBeGreaterThanOrEqual(atLeast), { deadlineMs: DEADLINE_MS })
}

async function expectAllPredicted(run: RunningPipeline): Promise<void> {
  const { events } = await run.account()
  expect(await run.settled(events, DEADLINE_MS)).toMatchObject({
    predicted: events,
    deadLetters: [],
    missing: 0,
    duplicates: 0,
  })
  // the change came while events flowed: both had their share
  const versions = await run.clickhouse.rows(
    `SELECT model_version AS version, feature_set AS set, count() >= ${SHARE} AS enough FROM predictions FINAL
     WHERE pipeline = {name:String} GROUP BY version, set ORDER BY version`,
    { name: run.pipeline.name },
  )
  expect(versions).toEqual([
    { version: '1', set: OLD_SET, enough: 1 },
    { version: '2', set: NEW_SET, enough: 1 },
  ])
}
