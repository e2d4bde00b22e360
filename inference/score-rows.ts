import type { CompiledModelChoice } from '../schemas/pipeline/compiled.ts'
import { type Answer, readOutputs } from './read-outputs.ts'
import type { ServedVersion } from './rollout/routes.ts'
import { vectorProblem } from './vector-problem.ts'

export type ScoredRow =
  | ({ readonly ok: true } & Answer)
  | { readonly ok: false; readonly reject: string; readonly message: string }

/**
 * What a version makes of feature rows (each of its width, float32, NaN = missing): a row's answer, or why it has none. Rejects as
 * its batcher does.
 */
export async function scoreRows(
  { manifest, width, batcher }: ServedVersion,
  choice: CompiledModelChoice,
  rows: readonly Float32Array[],
): Promise<readonly ScoredRow[]> {
  const problems = rows.map((row) => vectorProblem(manifest, row))
  const asked = [...rows.keys()].filter((row) => problems[row] === null)
  const tensor = new Float32Array(asked.length * width)
  for (const [at, row] of asked.entries()) tensor.set(rows[row] as Float32Array, at * width)
  const deadline = Number.POSITIVE_INFINITY
  const { outputs, failures } = await batcher.submit({ lane: '', rows: tensor, arrivedAt: 0, deadline })
  const places = new Map(asked.map((row, at) => [row, at]))
  return problems.map((problem, row): ScoredRow => {
    if (problem !== null) return rejected(problem)
    const at = places.get(row) as number
    const failure = failures.get(at)
    if (failure !== undefined) return rejected(failure)
    const { width: outputWidth } = manifest.output
    const read = readOutputs(manifest, choice, outputs.subarray(at * outputWidth, (at + 1) * outputWidth))
    return read.ok ? { ok: true, ...read.answer } : rejected(read.problem)
  })
}

function rejected({ reason, message }: { readonly reason: string; readonly message: string }): ScoredRow {
  return { ok: false, reject: reason, message }
}
