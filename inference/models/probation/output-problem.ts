import type { ModelManifest } from '../../../schemas/pipeline/manifest.ts'
import { withinRange } from '../../read-outputs.ts'

/** The first output of [rows, width] that is no finite number or out of the manifest's range, as a clause; null = none. */
export function outputProblem({ output }: ModelManifest, outputs: Float32Array): string | null {
  const { range } = output
  const at = outputs.findIndex((value) => !Number.isFinite(value) || (range !== null && !withinRange(value, range)))
  if (at < 0) return null
  const place = `output ${at % output.width} of row ${Math.floor(at / output.width)} is ${outputs[at]}`
  return Number.isFinite(outputs[at]) && range !== null ? `${place}, outside ${range.join(' to ')}` : place
}
