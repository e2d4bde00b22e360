/** Which rows are to blame, by a model that is a function. */
import { expect, onTestFinished, test, vi } from 'vitest'
import { type ModelRun, ModelRunError, type PreparedModel, type RunFault } from '../../inference/execution/executor.ts'
import { isolateRows } from '../../inference/execution/isolate-rows.ts'
import type { Quarantine } from '../../inference/execution/quarantine.ts'
import type { Replay } from '../../inference/execution/replay-rows.ts'
import type { RowFailure } from '../../inference/execution/run-rows.ts'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import { endsOf, rowsOf } from '../support/executor-hosts.ts'
import { versionOf } from '../support/model-version.ts'
import { FEATURES, ORDINARY } from '../support/onnx/hostile-models.ts'

interface Failing {
  readonly runs: number[]
  readonly model: PreparedModel
}

/** Answers a row's first feature; `fault` says of the first features of a run whether it fails. */
function failing(fault: (firsts: readonly number[]) => RunFault | null): Failing {
  const runs: number[] = []
  return {
    runs,
    model: {
      manifest: versionOf(ORDINARY),
      async run(rows) {
        const firsts = [...rows].filter((_, at) => at % FEATURES === 0)
        runs.push(firsts.length)
        const found = fault(firsts)
        if (found !== null) throw new ModelRunError(found, `it fails by ${found}`)
        return { outputs: Float32Array.from(firsts), tookMs: 1 }
      },
      retire: () => Promise.resolve(),
    },
  }
}

const range = (count: number): number[] => Array.from({ length: count }, (_, at) => 10 + at)
const refuses = (...bad: readonly number[]) =>
  failing((firsts) => (firsts.some((one) => bad.includes(one)) ? 'rows' : null))
const isolated = ({ model }: Failing, quarantine: Quarantine | null = null) =>
  isolateRows({ model, provider: 'cpu', quarantine, expectedMs: () => 0 })

function quarantineThat(replay: (rows: Float32Array) => Replay | null): Quarantine {
  return {
    warm: () => {},
    replay: (_manifest, rows) => Promise.resolve(replay(rows)),
    forget: () => {},
    close: () => Promise.resolve(),
  }
}

const FAILURE: RowFailure = { reason: 'model_crash', message: 'too large' }

const answersAll = quarantineThat((rows) => ({
  outputs: Float32Array.from([...rows].filter((_, at) => at % FEATURES === 0)),
  failures: new Map(),
  tookMs: 1,
}))

test('a run that succeeds is one run, and its outputs are handed on as they are', async () => {
  const failing = refuses()
  const result = await isolated(failing)(rowsOf(range(4)))
  expect(endsOf(result)).toEqual(range(4))
  expect(result).toMatchObject({ provider: 'cpu', batchRows: Int32Array.of(4, 4, 4, 4) })
  expect(failing.runs).toEqual([4])
})

test('runs of many sizes each say their own', async () => {
  const run = isolated(refuses())
  for (const count of [...range(40), ...range(3), 5, 4, 5]) {
    const { batchRows } = await run(rowsOf(range(count)))
    expect([...batchRows]).toEqual(range(count).map(() => count))
  }
})

test('a row that is refused fails alone, after a known row and by halves', async () => {
  const failing = refuses(12)
  const result = await isolated(failing)(rowsOf(range(4)))
  expect(endsOf(result)).toEqual([10, 11, 'model_error', 13])
  expect(failing.runs).toEqual([4, 1, 2, 2, 1, 1])
  expect([...result.batchRows]).toEqual([2, 2, 0, 1])
})

test('one bad row of many is found in few runs, many are found in hardly more than one run each', async () => {
  const one = refuses(700)
  await isolated(one)(rowsOf(range(1_024)))
  expect(one.runs.length).toBeLessThan(25)
  const bad = range(1_024).filter((_, at) => at % 3 === 0)
  const many = refuses(...bad)
  const result = await isolated(many)(rowsOf(range(1_024)))
  expect([...result.failures.keys()].map((row) => row + 10)).toEqual(bad)
  expect(many.runs.length).toBeLessThan(1_200)
})

test('a batch for which there is no memory is halved, a row for which there is none fails', async () => {
  const large = failing((firsts) => (firsts.length > 2 || firsts.includes(13) ? 'allocation' : null))
  expect(endsOf(await isolated(large)(rowsOf(range(4))))).toEqual([10, 11, 12, 'model_error'])
})

test('a model that fails on a row that it is known to answer fails, and no row', async () => {
  const run = isolated(failing(() => 'rows'))
  await expect(run(rowsOf(range(4)))).rejects.toMatchObject({ code: 'model_failed', fate: 'crash' })
})

test('what is no failure of a run is handed on', async () => {
  const gone = new Error('gone')
  const { model } = refuses()
  const run = isolateRows({
    model: { ...model, run: () => Promise.reject(gone) },
    provider: 'cpu',
    quarantine: null,
    expectedMs: () => 0,
  })
  await expect(run(rowsOf([10]))).rejects.toBe(gone)
})

test('a row that ends a child alone, too, is to blame', async () => {
  const failing = refuses()
  const ending = {
    ...failing,
    model: { ...failing.model, run: () => Promise.reject(new ModelRunError('timeout', 'late')) },
  }
  const quarantine = quarantineThat(() => ({
    outputs: Float32Array.of(10, 0, 12),
    failures: new Map([[1, { reason: 'model_timeout', message: 'late' }]]),
    tookMs: 1,
  }))
  for (let batch = 0; batch < 5; batch++) {
    expect(endsOf(await isolated(ending, quarantine)(rowsOf(range(3))))).toEqual([10, 'model_timeout', 12])
  }
})

test('quarantine gets ready when a run has had half of its time', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const { model } = refuses()
  const warmed: string[] = []
  const quarantine = { ...answersAll, warm: ({ name }: ModelManifest) => void warmed.push(name) }
  const runOf = async (ms: number) => {
    const slow = new Promise<ModelRun>((resolve) =>
      setTimeout(() => resolve({ outputs: Float32Array.of(1, 2), tookMs: ms }), ms),
    )
    const expectedMs = (rows: number): number => rows * 100
    const deps = { model: { ...model, run: () => slow }, provider: 'cpu', quarantine, expectedMs } as const
    const result = isolateRows(deps)(rowsOf(range(2)))
    await vi.advanceTimersByTimeAsync(ms)
    expect(endsOf(await result)).toEqual([1, 2])
  }
  await runOf(1_990)
  expect(warmed).toEqual([])
  await runOf(2_010)
  expect(warmed).toEqual(['m'])
})

test('a batch that is too large for the child is answered by halves, however often', async () => {
  const large = failing((firsts) => (firsts.length > 512 ? 'memory' : null))
  const run = isolated(large, answersAll)
  for (let batch = 0; batch < 5; batch++) {
    const result = await run(rowsOf(range(1_024)))
    expect([endsOf(result), result.tooMany]).toEqual([range(1_024), true])
  }
  expect(large.runs).toEqual(Array.from({ length: 5 }, () => [1_024, 512, 512]).flat())
})

test('where halves of halves are too large for it, too, the rows are answered in quarantine', async () => {
  const run = isolated(
    failing((firsts) => (firsts.length > 20 ? 'memory' : null)),
    answersAll,
  )
  for (let batch = 0; batch < 5; batch++) expect(endsOf(await run(rowsOf(range(128))))).toEqual(range(128))
})

test('a row for which a child has not the memory costs few children', async () => {
  const hungry = failing((firsts) => (firsts.includes(700) ? 'memory' : null))
  const replayed: number[] = []
  const quarantine = quarantineThat((rows) => {
    const firsts = [...rows].filter((_, at) => at % FEATURES === 0)
    replayed.push(firsts.length)
    return { outputs: Float32Array.from(firsts), failures: new Map([[firsts.indexOf(700), FAILURE]]), tookMs: 1 }
  })
  const result = await isolated(hungry, quarantine)(rowsOf(range(1_024)))
  expect(endsOf(result)).toEqual(range(1_024).with(690, 'model_crash' as never))
  expect(result.tooMany).toBe(false)
  expect([hungry.runs, replayed]).toEqual([[1_024, 512, 512, 256, 256], [256]])
})

test('small batches for which a child has not the memory blame the model', async () => {
  const run = isolated(
    failing(() => 'memory'),
    answersAll,
  )
  await expect(run(rowsOf(range(16)))).rejects.toMatchObject({ code: 'model_failed', fate: 'crash' })
})

test('three batches in a row that end the child without a row that does blame the model', async () => {
  let ends = true
  const run = isolated(
    failing(() => (ends ? 'crash' : null)),
    answersAll,
  )
  expect(endsOf(await run(rowsOf(range(2))))).toEqual([10, 11])
  await run(rowsOf(range(2)))
  ends = false
  await run(rowsOf(range(2)))
  ends = true
  await run(rowsOf(range(2)))
  await run(rowsOf(range(2)))
  await expect(run(rowsOf(range(2)))).rejects.toMatchObject({ code: 'model_failed', fate: 'crash' })
})

test('batches that were late because of what their rows take, each alone, blame nobody, however many', async () => {
  const slow = quarantineThat((rows) => ({
    outputs: Float32Array.from([...rows].filter((_, at) => at % FEATURES === 0)),
    failures: new Map(),
    tookMs: 3_000,
  }))
  const run = isolated(
    failing((firsts) => (firsts.length > 1 ? 'timeout' : null)),
    slow,
  )
  for (let batch = 0; batch < 5; batch++) expect(endsOf(await run(rowsOf(range(2))))).toEqual([10, 11])
})

test('a model that does not get as far as a row in quarantine is tried again, and blamed after three', async () => {
  let attempts = 0
  const crashing = failing(() => 'crash')
  const run = isolated(
    crashing,
    quarantineThat(() => {
      attempts++
      return null
    }),
  )
  await expect(run(rowsOf(range(2)))).rejects.toMatchObject({ code: 'model_failed' })
  expect(attempts).toBe(3)
  expect(crashing.runs).toEqual([2, 2, 2])
})
