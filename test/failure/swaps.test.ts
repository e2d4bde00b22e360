import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, inject, onTestFinished, test } from 'vitest'
import { createSupervisor } from '../../infra/local/supervisor.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { runSwaps } from '../support/swaps/run-swaps.ts'
import { uniqueName } from '../support/unique-name.ts'

// The short run of swaps.ts, on the stack of all tests.

const SEED = 20_130_101
const SWAPS = 18
const FAIL_EVERY = 6

/** The flights pipeline with a model that no other test speaks of. */
function ownPipeline(): string {
  const model = uniqueName('model')
  const { folder } = copyPipeline(FLIGHTS, (source) => source.replace("name: 'flight-delay'", `name: '${model}'`))
  const file = path.join(folder, 'models/1/manifest.json')
  writeFileSync(file, readFileSync(file, 'utf8').replace('"flight-delay"', `"${model}"`))
  return folder
}

test('versions swapped under load, some of which must fail: each event is predicted once, by one version, and as that version does', {
  timeout: 300_000,
}, async () => {
  const scratch = mkdtempSync(path.join(tmpdir(), 'millrace-swaps-'))
  onTestFinished(() => rmSync(scratch, { recursive: true, force: true }))
  const supervisor = createSupervisor()
  onTestFinished(() => supervisor.stop())
  const said: string[] = []
  const report = await runSwaps({
    stack: { env: inject('stack').env, supervisor },
    folder: ownPipeline(),
    scratch,
    ...{ swaps: SWAPS, failEvery: FAIL_EVERY, versions: 4, rate: 500, partitions: 4, executor: 'auto' },
    round: { swaps: SWAPS, quietMs: 500 },
    random: seededRandom(SEED),
    logDir: path.resolve('.millrace/test-logs', path.basename(scratch)),
    say: (line) => said.push(line),
  })
  const { answers, ledger } = report
  expect(report.unexpected, said.join('\n')).toEqual([])
  expect(report.failed).toEqual({ refused: 1, damaged: 1, wrong: 1 })
  expect(ledger.examples).toEqual([])
  expect(ledger).toMatchObject({ exact: true, labelsMissing: 0 })
  expect(answers).toMatchObject({ strange: 0, mistaken: 0, mixed: 0 })
  expect(Object.keys(answers.versions).toSorted()).toEqual(expect.arrayContaining(['v0', 'v1', 'v2', 'v3']))
  expect(Object.values(answers.versions).reduce((sum, count) => sum + count, 0)).toBe(ledger.predictions)
  expect(report.exact).toBe(true)
})
