import { expect, test } from 'vitest'
import { createPredictionTail } from '../../inference/prediction-tail.ts'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import type { Prediction } from '../../schemas/generated/records.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { FLIGHTS } from '../support/processing.ts'
import { vectorOf } from '../support/scoring.ts'

const { model } = await loadPipeline(FLIGHTS)
const manifest = readModelManifest(`${FLIGHTS}/models/1`)
const vectorType = parseAvroSchema(await readContract('feature-vector'), 'feature-vector')
const type = parseAvroSchema(await readContract('prediction'), 'prediction')
const readRecord = type.readerOf(type)
const vector = vectorOf(manifest.featureSet.digest, [1, 2])
const ROOM = 1_000

/** A vector with what `write` writes behind it, as any Avro reader reads it. */
function readBack(write: (target: Buffer, at: number) => number): Prediction {
  const value = vectorType.encode(0, vector)
  const target = Buffer.concat([value, Buffer.alloc(ROOM)])
  return readRecord(target.subarray(0, write(target, value.length))) as Prediction
}

test.each([
  ['primary', 'cpu', false],
  ['canary', 'cuda', true],
  ['shadow', 'cuda', false],
] as const)('what is written of a %s on %s is what any reader reads', (role, provider, late) => {
  const tail = createPredictionTail(manifest, model, role)
  const run = { batchRows: 300, provider, scoredAt: 1_700_000_000_123, late }
  const outputs = Float32Array.of(0, 0, 0.75, 0.25)
  const prediction = readBack((target, at) => tail.write(target, at, outputs, 1, run))
  expect(prediction).toMatchObject({
    ...{ ...vector, model: manifest.name, model_version: manifest.version, model_digest: manifest.sha256 },
    ...{ role, provider, score: 0.25, outputs: [0.75, 0.25], batch_rows: 300, scored_at: 1_700_000_000_123 },
    answer: late ? 'late' : 'scored',
  })
})

test('so is the fallback', () => {
  const fallback = { score: 0.5, label: 'unknown', late: true, invalid: true }
  const tail = createPredictionTail(manifest, { ...model, fallback }, 'canary')
  const prediction = readBack((target, at) => tail.writeFallback(target, at, 5))
  expect(prediction).toMatchObject({
    ...{ role: 'canary', score: 0.5, label: 'unknown', outputs: [], batch_rows: 0, scored_at: 5, answer: 'fallback' },
  })
})
