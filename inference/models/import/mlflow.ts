import { readFileSync } from 'node:fs'
import path from 'node:path'
import { parse } from 'yaml'
import { describeError, fatal } from '../../../infra/runtime/errors.ts'

/** What an MLflow model directory has as its description. */
export const MLMODEL = 'MLmodel'

/**
 * The ONNX file of an MLflow model directory: its MLmodel must have the flavour `onnx`, as `mlflow.onnx.save_model` writes it.
 * Rejects with `invalid_import` (crash).
 */
export function onnxFileOfMlflow(folder: string): string {
  const file = path.join(folder, MLMODEL)
  let description: unknown
  try {
    description = parse(readFileSync(file, 'utf8'))
  } catch (error) {
    throw fatal('invalid_import', `${file}: ${describeError(error).message}`, error)
  }
  const flavors = member(description, 'flavors')
  const data = member(member(flavors, 'onnx'), 'data')
  if (typeof data !== 'string') {
    const found = typeof flavors === 'object' && flavors !== null ? Object.keys(flavors).join(', ') : 'none'
    throw fatal(
      'invalid_import',
      `${file}: the flavour onnx is needed, there is ${found}: convert the model to ONNX first`,
    )
  }
  const place = path.resolve(folder, data)
  if (!place.startsWith(path.resolve(folder) + path.sep)) {
    throw fatal('invalid_import', `${file}: flavors.onnx.data leads out of the folder: ${data}`)
  }
  return place
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>)[name] : undefined
}
