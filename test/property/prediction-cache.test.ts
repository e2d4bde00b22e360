import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { RowFailure, RunRows } from '../../inference/execution/run-rows.ts'
import { type ModelSession, openModelSession } from '../../inference/models/model-session.ts'
import { cachedRows } from '../../inference/models/prediction-cache/cached-rows.ts'
import { type ModelKind, writeModel } from '../../infra/bench/hop/models.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { readModelManifest } from '../../schemas/pipeline/manifest.ts'

const BROKEN = 13
/** Bits of float32: ordinary numbers, both zeros, and three kinds of NaN. */
const CELLS = [...floatBits([0, -0, 1, -1, 2.5, 60, 1e-40, BROKEN]), 0x7fc0_0000, 0x7f80_0001, 0xffff_ffff]
const VARYING = 3

describe.each<ModelKind>(['mlp', 'trees'])('%s', (kind) => {
  let model: ModelSession
  const directory = mkdtempSync(join(tmpdir(), 'millrace-cache-'))

  beforeAll(async () => {
    const pipeline = await loadPipeline(join(import.meta.dirname, '../../infra/bench/flights'))
    await writeModel(pipeline, kind, directory)
    model = await openModelSession(readModelManifest(join(directory, '1')))
  })
  afterAll(async () => {
    await model.release()
    rmSync(directory, { recursive: true, force: true })
  })

  const cells = fc.array(fc.constantFrom(...CELLS), { minLength: VARYING, maxLength: VARYING })
  const batches = fc.array(fc.array(cells, { minLength: 1, maxLength: 24 }), { minLength: 1, maxLength: 12 })
  const hashes = fc.constantFrom(undefined, constantHash, (words: Int32Array) => (words[0] as number) >>> 30)

  test('a row is answered as without the cache, whatever collides and whatever has to go', async () => {
    await fc.assert(
      fc.asyncProperty(batches, hashes, fc.constantFrom(1, 4_000, 1_000_000), async (lists, hash, maxBytes) => {
        const width = model.manifest.input.features.length
        const outputWidth = model.manifest.output.width
        const computed: number[] = []
        const plain = runOf(model)
        const counted: RunRows = (rows) => {
          computed.push(rows.length / width)
          return plain(rows)
        }
        const looked = { rows: 0, hits: 0, repeats: 0 }
        const cached = cachedRows({
          run: counted,
          width,
          outputWidth,
          maxBytes,
          ...(hash === undefined ? {} : { hash }),
          observer: {
            looked(rows, hits, repeats) {
              looked.rows += rows
              looked.hits += hits
              looked.repeats += repeats
            },
          },
        })
        let total = 0
        for (const list of lists) {
          const rows = rowsOf(list, width)
          const sent = rows.slice()
          const expected = await plain(rows)
          const found = await cached(rows)
          total += list.length
          expect(words(rows)).toEqual(words(sent))
          expect([...found.failures.keys()].toSorted()).toEqual([...expected.failures.keys()].toSorted())
          for (let row = 0; row < list.length; row++) {
            if (expected.failures.has(row)) continue
            const at = [row * outputWidth, (row + 1) * outputWidth] as const
            expect(words(found.outputs.subarray(...at))).toEqual(words(expected.outputs.subarray(...at)))
            expect(found.batchRows[row]).toBeGreaterThan(0)
          }
        }
        const rowsComputed = computed.reduce((sum, rows) => sum + rows, 0)
        expect(looked.rows).toBe(total)
        expect(rowsComputed).toBe(total - looked.hits - looked.repeats)
        expect(computed).not.toContain(0)
      }),
      { numRuns: 150 },
    )
  })
})

/** A model that fails on rows whose first feature is BROKEN. */
function runOf(model: ModelSession): RunRows {
  const width = model.manifest.input.features.length
  return async (rows) => {
    const count = rows.length / width
    const failures = new Map<number, RowFailure>()
    for (let row = 0; row < count; row++) {
      if (rows[row * width] === BROKEN) failures.set(row, { reason: 'model_error', message: 'broken' })
    }
    const outputs = await model.run(rows)
    return { outputs, batchRows: new Int32Array(count).fill(count), failures, provider: 'cpu' }
  }
}

function constantHash(): number {
  return 0
}

function rowsOf(list: readonly (readonly number[])[], width: number): Float32Array {
  const bits = new Uint32Array(list.length * width)
  for (const [row, cells] of list.entries()) {
    for (const [column, cell] of cells.entries()) bits[row * width + column] = cell
  }
  return new Float32Array(bits.buffer)
}

function words(values: Float32Array): readonly number[] {
  return [...new Int32Array(values.buffer, values.byteOffset, values.length)]
}

function floatBits(values: readonly number[]): readonly number[] {
  return [...new Uint32Array(Float32Array.from(values).buffer)]
}
