import type { ModelManifest } from '../../../schemas/pipeline/manifest.ts'
import { withinRange } from '../../read-outputs.ts'

/** The first output of [rows, width] that is no finite number or out of the manifest's range, as a clause; null = none. */
export function outputProblem({ output }: ModelManifest, outputs: Float32Array): string | null {
  const { ranges, width } = output
  for (const [at, value] of outputs.entries()) {
    const range = ranges[at % width] ?? null
    const isWithin = range === null || withinRange(value, range)
    if (Number.isFinite(value) && isWithin) continue
    const place = `output ${at % width} of row ${Math.floor(at / width)} is ${value}`
    return Number.isFinite(value) && range !== null ? `${place}, outside ${range.join(' to ')}` : place
  }
  return null
}
