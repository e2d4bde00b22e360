import { expect, test } from 'vitest'
import { score } from '../../inference/commands/score.ts'
import { featuresOf } from '../../processors/commands/features.ts'
import { readGolden } from '../../schemas/pipeline/golden.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { FLIGHTS, ORDERS } from '../support/processing.ts'

// the expectations were computed where the models were trained, by other code
test.each([FLIGHTS, ORDERS])('golden events of %s give the expected features, scores and rejects', async (folder) => {
  const golden = readGolden(await loadPipeline(folder))
  const results = await featuresOf(folder, golden)
  const rows = results.map((result) => Float32Array.from(result.ok ? result.features : []))
  const scored = await score(folder, rows)
  for (const [at, { expect: expected }] of golden.entries()) {
    const result = results[at]
    if ('reject' in expected) {
      expect(result).toMatchObject({ ok: false, reject: expected.reject })
      expect(scored[at]).toMatchObject({ ok: false, reject: 'feature_width' })
      continue
    }
    const features = expected.features.map((value) => (value === null ? Number.NaN : Math.fround(value)))
    expect(result).toMatchObject({ ok: true, features })
    const answer = scored[at]
    if (!answer?.ok) throw new Error(`event ${at} was not scored`)
    expect(Math.abs(answer.score - expected.score)).toBeLessThan(1e-6)
    if (expected.label !== null) expect(answer.label).toBe(expected.label)
  }
})

test('a golden event that does not fit its schema is an error that names file and field', async () => {
  const [first] = readGolden(await loadPipeline(ORDERS))
  const event = { ...first?.event, amount: 'much' }
  await expect(featuresOf(ORDERS, [{ event, tables: new Map() }])).rejects.toThrow(
    /orders\/golden\.json: \[0\]\.event: amount is a string, which is no double/,
  )
})

test('a row of another key is not found, one of the event’s future neither', async () => {
  const golden = readGolden(await loadPipeline(FLIGHTS))
  const found = golden.find(({ tables }) => tables.has('weather'))
  const weather = found?.tables.get('weather')
  if (found === undefined || weather === undefined) throw new Error('no golden event has weather')
  const cases = [{}, { origin: 'XXX' }, { observed_at: 4e12 }].map((changes) => ({
    event: found.event,
    tables: new Map([['weather', { ...weather, ...changes }]]),
  }))
  expect(await featuresOf(FLIGHTS, cases)).toMatchObject([{ degraded: false }, { degraded: true }, { degraded: true }])
})
