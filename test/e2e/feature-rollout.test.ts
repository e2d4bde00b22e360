import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, inject, test } from 'vitest'
import { readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { auditOf } from '../support/audit-of.ts'
import { FLIGHTS } from '../support/pipeline-copy.ts'
import { runRollout } from '../support/rollout-run.ts'
import { MODEL_2 } from '../support/scoring.ts'

const DEADLINE_MS = 120_000
/** A replay that the test ends. */
const MANY = 100_000
const { env } = inject('stack')

test('a candidate with one feature more than production, and the feature added under load', {
  timeout: 900_000,
}, async () => {
  const { run, folder, model, scratch, succeed, predictedMore } = await runRollout(env)
  await succeed('promote', `${model}/1`, '--bundled', '--wait')
  const flow = run.replay({ limit: MANY, rate: '300' })
  await predictedMore(500)

  addFeature(folder)
  const version = path.join(scratch, '2')
  cpSync(MODEL_2, version, { recursive: true })
  const manifest = path.join(version, 'manifest.json')
  writeFileSync(manifest, readFileSync(manifest, 'utf8').replace('"flight-delay"', `"${model}"`))
  await succeed('push', version, '--pipeline', folder)
  expect(await succeed('promote', `${model}/2`, '--candidate', '--weight', '10%', '--wait')).toContain(
    `${model}/2: activated`,
  )
  await predictedMore(500)
  await run.stage('processors').stop()
  run.stage('processors').start()
  await predictedMore(1_500)
  // and it takes over from the old one
  expect(await succeed('promote', `${model}/2`, '--wait')).toContain(`${model}/2: activated`)
  await predictedMore(500)
  await flow.stop()

  const { events } = await run.account()
  expect(await run.settled(events, DEADLINE_MS)).toMatchObject({ predicted: events, deadLetters: [], duplicates: 0 })
  // each answers the vectors that it takes, before and after the other one is production
  const rows = await run.clickhouse.rows(
    `SELECT model_version AS version, feature_set AS set, role, count() > 500 AS enough FROM predictions FINAL
     WHERE pipeline = {name:String} GROUP BY version, set, role ORDER BY version`,
    { name: run.pipeline.name },
  )
  expect(rows).toEqual([
    { version: '1', set: setOf(path.join(FLIGHTS, 'models/1')), role: 'primary', enough: 1 },
    { version: '2', set: setOf(MODEL_2), role: 'primary', enough: 1 },
  ])
  expect(readFileSync(run.stage('inference').logFile, 'utf8')).not.toMatch(/no_model_for_feature_set/)
  expect(run.stage('inference').restarts).toBe(0)
  expect(await auditOf(run, env)).toMatchObject({ verdict: 'exact', problems: [], totals: { deadLetters: [] } })
})

function addFeature(folder: string): void {
  const file = path.join(folder, 'pipeline.ts')
  const source = readFileSync(file, 'utf8')
  const last = "visib: lookup('weather', 'visib', { by: atDeparture }),"
  expect(source).toContain(last)
  writeFileSync(file, source.replace(last, `${last}\n    dewp: lookup('weather', 'dewp', { by: atDeparture }),`))
}

const setOf = (folder: string): string => readModelManifest(folder).featureSet.digest
