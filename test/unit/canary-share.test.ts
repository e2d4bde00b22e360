import { expect, onTestFinished, test } from 'vitest'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { memoryBatch } from '../support/memory-kafka.ts'
import { endsOf, FLIGHTS, handled } from '../support/processing.ts'
import { addVersion, type Scoring, scoring, vectorOf, withModels } from '../support/scoring.ts'

// Who a canary answers, from vectors to predictions: 100,000 entities, each once a replay.

const KEYS = 100_000
const LANES = 4
const flights = await loadPipeline(FLIGHTS)
const { golden, featureSet, sha256 } = readModelManifest(`${FLIGHTS}/models/1`)

/** Answers with version 1, and with version 2 for `weight` of 10,000 entities. */
async function canaryAt(weight: number): Promise<Scoring> {
  const next = withModels(flights)
  addVersion(next.directory, '2')
  const canary = (await scoring(next)).routes.acquire(featureSet.digest)
  if (canary === null) throw new Error('version 2 is not loaded')
  onTestFinished(() => canary.release())
  const share = { version: canary.primary, weight, seed: Number.parseInt(sha256.slice(0, 8), 16) }
  return await scoring(withModels(flights), { canary: share })
}

/** Entities that version 2 answered, in a replay that comes in batches of so many. */
async function answeredByCanary(weight: number, batchRows: number): Promise<ReadonlySet<string>> {
  const stage = await canaryAt(weight)
  const chosen = new Set<string>()
  let answers = 0
  for (let from = 0; from < KEYS; from += LANES * batchRows) {
    const batches = Array.from({ length: LANES }, (_, lane) => batchOf(stage, from + lane * batchRows, batchRows, lane))
    for (const outcome of await handled(stage.handler, batches, 'predictions')) {
      for (const end of endsOf(outcome, 'predictions')) {
        if (!Buffer.isBuffer(end)) throw new Error(`rejected: ${end.reason}`)
        const { event_id, role, model_version } = stage.prediction(end)
        expect([role, model_version]).toEqual(role === 'canary' ? ['canary', '2'] : ['primary', '1'])
        if (role === 'canary') chosen.add(event_id)
        answers++
      }
    }
  }
  expect(answers).toBe(KEYS)
  return chosen
}

function batchOf(stage: Scoring, from: number, rows: number, partition: number) {
  const count = Math.max(0, Math.min(rows, KEYS - from))
  const records = Array.from({ length: count }, (_, row) => {
    const vector = vectorOf(featureSet.digest, golden[(from + row) % golden.length]?.features ?? [], from + row)
    return { key: Buffer.from(`N${from + row}`), value: stage.value(vector) }
  })
  const offsets = records.map((_, row) => from + row)
  return memoryBatch({ topic: 'flights.features', partition, offsets, records, generation: 'features-generation' })
}

test('10 % of 100,000 entities, the same ones on replay, and nobody leaves when it is raised', async () => {
  const first = await answeredByCanary(1_000, 5_000)
  expect(Math.abs(first.size / KEYS - 0.1)).toBeLessThan(0.005)
  expect(await answeredByCanary(1_000, 777)).toEqual(first)
  const raised = await answeredByCanary(3_000, 5_000)
  expect(Math.abs(raised.size / KEYS - 0.3)).toBeLessThan(0.005)
  expect([...first].filter((entity) => !raised.has(entity))).toEqual([])
})
