import { readFileSync } from 'node:fs'
import { expect, inject, test } from 'vitest'
import { entityBucket, shareSeed } from '../../inference/rollout/entity-bucket.ts'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { CONNECTIONS, readConfig } from '../../infra/runtime/config.ts'
import { sliceAt } from '../../infra/runtime/kafka/record-batches/columns.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import type { Prediction } from '../../schemas/generated/records.ts'
import { type HopRunReport, runKilledHops } from '../support/executors/hop-run.ts'
import { isRefused, numberedEvent } from '../support/executors/numbered-events.ts'
import { numberedVector, SLOW_SHARE } from '../support/executors/scored-vectors.ts'
import { checkLane } from '../support/ledger/lane-ledger.ts'
import { versionOf } from '../support/model-version.ts'
import { ORDINARY } from '../support/onnx/hostile-models.ts'
import { SLOW } from '../support/onnx/slow-model.ts'
import { seededRandom } from '../support/seeded-random.ts'

// Batches of one lane that are finished in another order than they were taken in, in processes that are killed meanwhile.

const SEED = 4_711
const PARTITIONS = 4
const TIMEOUT = { timeout: 600_000 }
const brokers = readConfig(CONNECTIONS, inject('stack').env).kafkaBrokers

/** Each record has one end, in order; the refused ones are dead letters. */
function checkLanes({ lanes, sent }: HopRunReport): void {
  const refused = Array.from({ length: sent }, (_, number) => number).filter(isRefused)
  expect(lanes).toHaveLength(PARTITIONS)
  for (const logs of lanes) {
    const { examples, found, ...counts } = checkLane(logs)
    expect(examples, JSON.stringify(found)).toEqual([])
    expect([...logs.deadLetters.sources]).toEqual(refused)
    expect(counts).toMatchObject({ events: sent, predictions: sent - refused.length, deadLetters: refused.length })
  }
}

function checkFaults({ killed, running, faults }: HopRunReport, least: { waiting: number; overtaking: number }): void {
  expect(killed.length).toBe(faults.length)
  expect(killed.filter(({ reached }) => reached).length).toBe(faults.filter(({ kind }) => kind === 'at-point').length)
  expect(killed.filter(({ waiting }) => waiting > 0).length).toBeGreaterThanOrEqual(least.waiting)
  // batches that are finished before an earlier one of their lane
  const overtaking = [...killed, ...running].reduce((sum, run) => sum + run.overtaking, 0)
  expect(overtaking).toBeGreaterThan(least.overtaking)
}

test(
  'a fast and a slow executor out of order on every lane, killed again and again: each record ends once, in order',
  TIMEOUT,
  async () => {
    const kills = { anywhere: 4, whileWaiting: 5 }
    const report = await runKilledHops({
      brokers,
      load: {
        ...{ partitions: PARTITIONS, backlog: 3_000, roundMs: 10 },
        record: (partition, number) => ({ value: numberedEvent(partition, number) }),
      },
      kills,
      random: seededRandom(SEED),
      handler: { handler: 'test/support/executors/numbered-events.ts', given: {} },
    })
    checkLanes(report)
    // about 550 are
    checkFaults(report, { waiting: kills.whileWaiting, overtaking: 200 })
  },
)

test(
  'a fast and a slow version of a model on every lane, killed again and again: each vector is answered once, in order, by its version',
  TIMEOUT,
  async () => {
    const [fast, slow] = [versionOf(ORDINARY), versionOf(SLOW)]
    const kills = { anywhere: 3, whileWaiting: 3 }
    /** Keys come in runs, so that some batches are answered by one version alone. */
    const keyOf = (partition: number, number: number): string => `${partition}-${Math.floor(number / 40)}`
    const report = await runKilledHops({
      brokers,
      load: {
        ...{ partitions: PARTITIONS, backlog: 3_000, roundMs: 20 },
        record: (partition, number) => ({
          key: keyOf(partition, number),
          value: numberedVector(fast.featureSet.digest, partition, number, isRefused(number)),
        }),
      },
      kills,
      random: seededRandom(SEED),
      handler: {
        handler: 'test/support/executors/scored-vectors.ts',
        given: { fast: fast.folder, slow: slow.folder },
      },
    })
    checkLanes(report)
    checkFaults(report, { waiting: kills.whileWaiting, overtaking: 50 })

    const seed = shareSeed(slow.sha256)
    const answers = { fast: 0, slow: 0 }
    const type = parseAvroSchema(await readContract('prediction'), 'prediction')
    const read = type.readerOf(type)
    for await (const set of report.outputs()) {
      for (let row = 0; row < set.length; row++) {
        const key = sliceAt(set.keys, row) ?? Buffer.alloc(0)
        const { event_id, features, model_version, score } = read(sliceAt(set.values, row) as Buffer) as Prediction
        const isSlow = entityBucket(key, 0, key.length, seed) < SLOW_SHARE
        const mean = ((features[0] as number) + 5) / 3
        if (model_version !== (isSlow ? 'slow' : '1') || Math.abs(score - (isSlow ? -mean : mean)) > 1e-3 * mean) {
          expect.fail(`${event_id} of ${key} is answered ${score} by version ${model_version}`)
        }
        answers[isSlow ? 'slow' : 'fast']++
      }
    }
    const all = answers.fast + answers.slow
    expect(Math.min(answers.fast, answers.slow)).toBeGreaterThan(0.3 * all)
    const log = readFileSync(report.logFile, 'utf8').split('\n')
    expect(log.filter((line) => line.includes('executor child ended')).length).toBeGreaterThan(kills.anywhere)
  },
)
