/** What a shadow is shown of a batch, and when, on a real model. */
import { expect, test } from 'vitest'
import type { ServedVersion } from '../../inference/rollout/routes.ts'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { retryable } from '../../infra/runtime/errors.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import type { CompiledModelChoice } from '../../schemas/pipeline/compiled.ts'
import { manualClock } from '../support/manual-clock.ts'
import { memoryBatch } from '../support/memory-kafka.ts'
import { versionOf } from '../support/model-version.ts'
import { handled } from '../support/processing.ts'
import { scoringOn, vectorOf } from '../support/scoring.ts'
import { fixedRoutes, servedInTest } from '../support/served-version.ts'
import { CLASSES } from '../support/shaped-models.ts'

const DEADLINE_MS = 100

test('a batch is shown once it has its answers, as it came, though it was tried before and a row of it is late', async () => {
  const clock = manualClock(1_700_000_000_000)
  const manifest = versionOf(CLASSES)
  const model: CompiledModelChoice = {
    ...{ name: 'm', alias: 'production', directory: '/nowhere', output: { tensor: 'probabilities', index: 1 } },
    ...{ budgetMs: 20, deadlineMs: DEADLINE_MS, provider: { name: 'cpu', demand: 'require' } as const },
    fallback: { score: 0.125, label: 'unknown', late: true, invalid: false },
  }
  const version = await servedInTest(manifest, model, { clock })
  let tries = 0
  const flaky: ServedVersion = {
    ...version,
    batcher: {
      pending: 0,
      submit: (work) =>
        tries++ === 0 ? Promise.reject(retryable('model_unavailable', 'away')) : version.batcher.submit(work),
    },
  }
  const { digest } = manifest.featureSet
  const shown: Buffer[][] = []
  const stage = await scoringOn({ model, featureSet: { digest } }, fixedRoutes(flaky), {
    clock,
    shadow: {
      offer(_route, _partition, { values, length }) {
        const { bytes, starts, lengths } = values
        const valueAt = (row: number) =>
          Buffer.from(bytes.subarray(starts[row] as number, (starts[row] as number) + (lengths[row] as number)))
        shown.push(Array.from({ length }, (_, row) => valueAt(row)))
      },
    },
  })
  const vectors = [500, 0].map((age, at) => ({ ...vectorOf(digest, [1, 1], at), ingested_at: clock.now() - age }))
  const records = vectors.map((vector) => ({ key: null, value: stage.value(vector) }))
  const batch = () => memoryBatch({ topic: 'p.features', partition: 0, records, generation: 'g' })

  await expect(handled(stage.handler, [batch()], 'predictions')).rejects.toMatchObject({ fate: 'retry' })
  expect(shown).toEqual([])
  await handled(stage.handler, [batch()], 'predictions')

  const type = parseAvroSchema(await readContract('feature-vector'), 'feature-vector')
  const read = type.readerOf(type)
  const origins = vectors.map(
    ({ features: _features, source_generation: _generation, source_offset: _offset, ...rest }) => rest,
  )
  expect(shown).toHaveLength(1)
  expect(shown[0]?.map(read)).toEqual(origins.map((origin) => expect.objectContaining(origin)))
})
