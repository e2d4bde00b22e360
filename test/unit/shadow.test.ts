import { expect, onTestFinished, test } from 'vitest'
import { isInShare } from '../../inference/is-in-share.ts'
import type { Route, ServedVersion } from '../../inference/rollout/routes.ts'
import { rejected, retryable } from '../../infra/runtime/errors.ts'
import type { OutgoingBatch } from '../../infra/runtime/kafka/record-writer.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { eventually } from '../support/eventually.ts'
import { endsOf, FLIGHTS } from '../support/processing.ts'
import { addVersion, type Manifest, scoring, vectorOf, withModels } from '../support/scoring.ts'
import {
  alone,
  columnsOf,
  predictionIn,
  SHADOW_SCHEMA_ID,
  type Shadowing,
  scoredBeside,
  shadowing,
} from '../support/shadowing.ts'

const flights = await loadPipeline(FLIGHTS)
const { golden, featureSet } = readModelManifest(`${FLIGHTS}/models/1`)
const vectors = golden.map(({ features }, index) => vectorOf(featureSet.digest, features, index))
const keys = vectors.map(({ event_id }, row) => (row % 5 === 4 ? null : Buffer.from(`plane of ${event_id}`)))

/** A version of the sample model on ONNX Runtime, loaded until the test ends. */
async function served(version: string, edit: (manifest: Manifest) => void = () => {}): Promise<ServedVersion> {
  const pipeline: CompiledPipeline & { directory: string } = withModels(flights)
  addVersion(pipeline.directory, version, { edit })
  const stage = await scoring(pipeline)
  const held = stage.routes.acquire(featureSet.digest)
  if (held === null) throw new Error('it is not loaded')
  onTestFinished(() => held.release())
  return held.primary
}

const share = (version: ServedVersion, weight = 10_000) => ({ version, weight, seed: 42 })

const done = (shadow: Shadowing, rows: number) =>
  eventually(() => expect(shadow.ended()).toBe(rows), { deadlineMs: 30_000 })

function offered(shadow: Shadowing, version: ServedVersion, rows = vectors): void {
  const lane = columnsOf(rows, keys, 0)
  shadow.taker.offer({ ...alone(version), shadow: share(version) }, lane.batch.partition, lane.vectors)
}

test('a shadow says what it thinks of the same records, under their own keys; what is answered stays the same', async () => {
  const [primary, version] = [await served('1'), await served('2')]
  const route: Route = { ...alone(primary), shadow: share(version, 5_000) }
  const shadow = shadowing(flights.model)
  const [beside, bare] = [
    await scoredBeside(shadow.taker, flights.model, route, vectors, keys),
    await scoredBeside(shadow.taker, flights.model, alone(primary), vectors, keys),
  ]
  const answers = endsOf(beside.outcome, 'predictions').map((end) => predictionIn(end as Buffer))
  const quiet = endsOf(bare.outcome, 'predictions').map((end) => predictionIn(end as Buffer))
  const timeless = (all: typeof quiet) => all.map((one) => ({ ...one, scored_at: 0 }))
  expect(timeless(answers)).toEqual(timeless(quiet))

  const shown = vectors.flatMap((_, row) => (isInShare(share(version, 5_000), beside.vectors, row) ? [row] : []))
  await done(shadow, shown.length)
  expect(shown.length).toBeGreaterThan(3)
  expect(shown.length).toBeLessThan(vectors.length - 3)
  expect(shadow.counts).toEqual(new Map([['written', shown.length]]))
  const [batch] = shadow.written as [OutgoingBatch]
  expect([shadow.written.length, batch.topic, batch.partition]).toEqual([1, 'flights.shadow', 3])
  expect(batch.records.map(({ key }) => key)).toEqual(shown.map((row) => keys[row]))
  expect(batch.records.map(({ value }) => ({ ...predictionIn(value) }))).toEqual(
    shown.map((row) => ({
      ...answers[row],
      ...{ role: 'shadow', model_version: '2', batch_rows: shown.length, scored_at: expect.any(Number) },
    })),
  )
  expect(batch.records.every(({ value }) => value.readInt32BE(1) === SHADOW_SCHEMA_ID)).toBe(true)
  expect(shadow.guarded).toEqual([
    { version: '2', scores: shown.map((row) => answers[row]?.score), rows: shown.length, failed: 0, invalid: 0 },
  ])
})

test('rows that a shadow may not be given, or answers badly, are left out and counted', async () => {
  const rows = vectors.map((vector, row) => ({
    ...vector,
    features: row % 2 === 0 ? vector.features.map((value) => (Number.isNaN(value) ? 1 : value)) : vector.features,
  }))
  const gaps = rows.filter(({ features }) => features.some(Number.isNaN)).length
  const version = await served('2', (manifest) => {
    manifest.input.missing = 'refuse'
    manifest.golden = manifest.golden.filter(({ features }) => !features.includes(null))
    manifest.output.range = [0.09, 0.91]
    manifest.golden = manifest.golden.filter(({ outputs }) => outputs.every((one) => one > 0.09 && one < 0.91))
  })
  const shadow = shadowing(flights.model)
  offered(shadow, version, rows)
  await done(shadow, vectors.length)
  const { unfit = 0, invalid = 0, written = 0 } = Object.fromEntries(shadow.counts)
  expect([unfit, unfit + invalid + written]).toEqual([gaps, vectors.length])
  expect(Math.min(invalid, written, gaps)).toBeGreaterThan(0)
  expect(shadow.guarded).toMatchObject([{ rows: vectors.length - gaps, failed: 0, invalid }])
})

test('vectors of another width are no rows of it', async () => {
  const version = await served('1')
  const shadow = shadowing(flights.model)
  offered(
    shadow,
    version,
    vectors.map((vector) => ({ ...vector, features: vector.features.slice(1) })),
  )
  await done(shadow, vectors.length)
  expect(shadow.counts).toEqual(new Map([['unfit', vectors.length]]))
})

test('a shadow that fails is said once, and counted', async () => {
  const version = await served('1')
  const failing: ServedVersion = {
    ...version,
    batcher: { pending: 0, submit: () => Promise.reject(retryable('model_unavailable', 'no executor can be started')) },
  }
  const shadow = shadowing(flights.model)
  for (let turn = 1; turn <= 3; turn++) {
    offered(shadow, failing)
    await done(shadow, turn * vectors.length)
  }
  expect(shadow.counts).toEqual(new Map([['unavailable', 3 * vectors.length]]))
  expect(shadow.logged).toEqual(['model_unavailable'])
})

test('rows that it fails on are left out', async () => {
  const version = await served('1')
  const partly: ServedVersion = {
    ...version,
    batcher: {
      pending: 0,
      async submit(work) {
        const scored = await version.batcher.submit(work)
        const failures = new Map([2, 5].map((row) => [row, { reason: 'model_crash' as const, message: 'it died' }]))
        return { ...scored, failures }
      },
    },
  }
  const shadow = shadowing(flights.model)
  offered(shadow, partly)
  await done(shadow, vectors.length)
  expect(shadow.counts).toEqual(
    new Map([
      ['model_crash', 2],
      ['written', vectors.length - 2],
    ]),
  )
  const ids = shadow.written.flatMap(({ records }) => records.map(({ value }) => predictionIn(value).event_id))
  expect(ids).toEqual(vectors.flatMap(({ event_id }, row) => (row === 2 || row === 5 ? [] : [event_id])))
  expect(shadow.logged).toEqual(['model_crash'])
})

test('what Kafka does not take is counted; one record that is too large costs only its batch', async () => {
  const version = await served('1')
  const large = vectors.map((vector, row) => ({ ...vector, tenant: 'x'.repeat(row === 0 ? 950_000 : 50_000) }))
  const batches: number[] = []
  const limits = { maxRows: 1_000, maxBytes: 2 ** 24 }
  const errors = [rejected('record_too_large', 'it is too large'), retryable('broker_down', 'no answer')]
  for (const error of errors) {
    const shadow = shadowing(flights.model, {
      limits,
      writer: {
        async write([batch]) {
          batches.push(batch?.records.length ?? 0)
          if ((batch?.records[0]?.value.length ?? 0) > 900_000) throw error
          return []
        },
      },
    })
    offered(shadow, version, large)
    await done(shadow, large.length)
    const lost = error.fate === 'reject' ? 1 : large.length
    const kept = large.length - lost
    expect(shadow.counts).toEqual(new Map([['unwritten', lost], ...(kept > 0 ? [['written', kept] as const] : [])]))
    expect(shadow.logged).toEqual([error.code])
  }
  expect(batches).toEqual([1, 17, 2, 1])
})

test('a version is held while it is asked, and rows of one that has gone are dropped', async () => {
  const version = await served('1')
  let held = 0
  let isLoaded = true
  const shadow = shadowing(flights.model, {
    hold(asked) {
      if (!isLoaded) return null
      held++
      return { version: asked, release: () => void held-- }
    },
    writer: {
      async write() {
        expect(held).toBe(0)
        return []
      },
    },
  })
  offered(shadow, version)
  expect(held).toBe(0)
  await done(shadow, vectors.length)
  isLoaded = false
  offered(shadow, version)
  await done(shadow, 2 * vectors.length)
  expect([held, shadow.counts.get('written'), shadow.counts.get('unloaded')]).toEqual([0, 20, 20])
})

test('nothing waits for a shadow that hangs, and a stop drops what it has', async () => {
  const primary = await served('1')
  let held = 0
  const hanging: ServedVersion = { ...primary, batcher: { pending: 0, submit: () => new Promise(() => {}) } }
  const shadow = shadowing(flights.model, {
    limits: { maxRows: 100, maxBytes: 2 ** 20 },
    clock: { now: Date.now, monotonic: () => 0, sleep: async () => {} },
    hold(version) {
      held++
      return { version, release: () => void held-- }
    },
  })
  for (let turn = 0; turn < 20; turn++) {
    const { outcome } = await scoredBeside(
      shadow.taker,
      flights.model,
      { ...alone(primary), shadow: share(hanging) },
      vectors,
      keys,
    )
    expect(endsOf(outcome, 'predictions')).toHaveLength(vectors.length)
  }
  expect(20 * vectors.length - shadow.ended()).toBeLessThanOrEqual(100)
  await shadow.stop()
  await done(shadow, 20 * vectors.length)
  offered(shadow, hanging)
  expect([held, shadow.ended(), [...shadow.counts.keys()]]).toEqual([0, 21 * vectors.length, ['full', 'stopped']])
})
