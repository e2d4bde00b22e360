/**
 * `npm run bench:swaps -- --swaps 500 [--rate 1000] [--fail-every 10] [--versions 4] [--executor process] [--seed S]`: the flights
 * pipeline under a steady load, while versions of its model are promoted one after another; every so many cannot be loaded or do
 * not pass their probation. Between the rounds of swaps nothing is swapped for a while, for comparison. Then the ledger, and every
 * prediction is scored again by the version that it names. The last line is one JSON object; the exit status is 0 when all is exact.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { createScope } from '../../infra/runtime/lifecycle/scope.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { runSwaps } from '../support/swaps/run-swaps.ts'
import { startTestStack } from '../support/test-stack.ts'

const { values } = parseArgs({
  options: {
    swaps: { type: 'string', default: '500' },
    rate: { type: 'string', default: '1000' },
    'fail-every': { type: 'string', default: '10' },
    versions: { type: 'string', default: '4' },
    'round-swaps': { type: 'string', default: '25' },
    'quiet-ms': { type: 'string', default: '10000' },
    partitions: { type: 'string', default: '6' },
    executor: { type: 'string', default: 'auto' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
  },
})
const whole = (name: keyof typeof values): number => {
  const value = Number(values[name])
  if (!Number.isSafeInteger(value) || value < 1) throw new RangeError(`--${name} must be a whole number above 0`)
  return value
}
const executor = (['auto', 'inline', 'process'] as const).find((kind) => kind === values.executor)
if (executor === undefined) throw new RangeError('--executor is auto, inline or process')
const settings = {
  swaps: whole('swaps'),
  rate: whole('rate'),
  failEvery: whole('fail-every'),
  versions: whole('versions'),
  round: { swaps: whole('round-swaps'), quietMs: whole('quiet-ms') },
  partitions: whole('partitions'),
  executor,
}
const seed = whole('seed')
const startedAt = performance.now()
const seconds = (): number => Math.round(performance.now() - startedAt) / 1_000
const say = (line: string): void => void process.stdout.write(`${seconds().toFixed(1).padStart(7)} s  ${line}\n`)

const scope = createScope(silentLogger)
try {
  const scratch = await scope.start('scratch', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'millrace-swaps-'))
    return { value: folder, stop: async () => rmSync(folder, { recursive: true, force: true }) }
  })
  const report = await runSwaps({
    ...settings,
    scratch,
    say,
    stack: await scope.start('stack', startTestStack),
    folder: path.resolve(import.meta.dirname, '../../infra/sample/flights'),
    random: seededRandom(seed),
    logDir: path.resolve(import.meta.dirname, '../../.millrace/test-logs', `swaps-${process.pid}`),
  })
  process.stdout.write(`${JSON.stringify({ seed, ...settings, seconds: seconds(), ...report })}\n`)
  if (!report.exact) process.exitCode = 1
} finally {
  await scope.close()
}
