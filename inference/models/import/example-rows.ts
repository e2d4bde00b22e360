import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fatal } from '../../../infra/runtime/errors.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { readGolden } from '../../../schemas/pipeline/golden.ts'
import { readJson } from '../../../schemas/pipeline/read-json.ts'

/** A row that the model is to answer. */
export interface ExampleRow {
  /** By column; null = missing. */
  readonly features: readonly (number | null)[]
  /** Null = what the model answers when it is imported. */
  readonly outputs: readonly number[] | null
}

const OUTPUT_COLUMN = /^output(\.\d+)?$/
const MOST_ROWS = 50

/**
 * Rows from a file: CSV with a column for each feature, and perhaps `output.0`, `output.1`, … behind them; or a JSON list of
 * `{ features, outputs }` or of bare rows, each a list in the features' order or an object by name. An empty cell and null
 * are missing values. Throws `invalid_rows` (crash).
 */
export function readExampleRows(file: string, features: readonly string[]): readonly ExampleRow[] {
  const rows = file.endsWith('.csv') ? csvRows(file, features) : jsonRows(file, readJson(file), features)
  if (rows.length === 0) throw fatal('invalid_rows', `${file} has no rows`)
  return rows
}

/** The feature rows of the pipeline's golden events; empty when it has none. */
export function rowsOfPipeline(pipeline: CompiledPipeline): readonly ExampleRow[] {
  if (!existsSync(path.join(pipeline.folder, 'golden.json'))) return []
  return readGolden(pipeline)
    .flatMap(({ expect }) => ('features' in expect ? [{ features: expect.features, outputs: null }] : []))
    .slice(0, MOST_ROWS)
}

/** What the JSON at `place` says; `place` is only named in messages. */
export function jsonRows(place: string, json: unknown, features: readonly string[]): readonly ExampleRow[] {
  if (!Array.isArray(json)) throw fatal('invalid_rows', `${place}: a list of rows is expected`)
  return json.map((member: unknown, at) => {
    const where = `${place}: [${at}]`
    const whole = isObject(member) && 'features' in member ? member : { features: member }
    const outputs = 'outputs' in whole ? numbers(whole['outputs'], `${where}.outputs`) : null
    return { features: rowOf(whole['features'], features, `${where}.features`), outputs }
  })
}

function rowOf(value: unknown, features: readonly string[], where: string): readonly (number | null)[] {
  const cells = Array.isArray(value) ? value : isObject(value) ? byName(value, features, where) : null
  if (cells === null || cells.length !== features.length) {
    throw fatal('invalid_rows', `${where}: ${features.length} numbers are expected, in the order of the features`)
  }
  return cells.map((cell: unknown) => {
    if (cell === null) return null
    if (typeof cell === 'boolean') return cell ? 1 : 0
    if (typeof cell === 'number' && Number.isFinite(cell)) return cell
    throw fatal('invalid_rows', `${where}: ${JSON.stringify(cell)} is no number: rows are as the model sees them`)
  })
}

function byName(row: Readonly<Record<string, unknown>>, features: readonly string[], where: string): unknown[] {
  const unknown = Object.keys(row).find((name) => !features.includes(name))
  if (unknown !== undefined) throw fatal('invalid_rows', `${where}: there is no feature ${unknown}`)
  return features.map((name) => row[name] ?? null)
}

function numbers(value: unknown, where: string): readonly number[] {
  if (Array.isArray(value) && value.every((one) => typeof one === 'number' && Number.isFinite(one))) return value
  throw fatal('invalid_rows', `${where}: a list of numbers is expected`)
}

/** Numbers need no quotes, and nothing else is read. */
function csvRows(file: string, features: readonly string[]): readonly ExampleRow[] {
  const [head = '', ...lines] = readFileSync(file, 'utf8').trim().split(/\r?\n/)
  const names = cellsOf(head)
  const unknown = names.find((name) => !features.includes(name) && !OUTPUT_COLUMN.test(name))
  if (unknown !== undefined) throw fatal('invalid_rows', `${file}: column ${unknown} is no feature of the model`)
  const missing = features.find((name) => !names.includes(name))
  if (missing !== undefined) throw fatal('invalid_rows', `${file}: there is no column for the feature ${missing}`)
  return lines.map((line, at) => {
    const cells = cellsOf(line).map((cell) => (cell === '' || /^(nan|null|na)$/i.test(cell) ? null : Number(cell)))
    if (cells.length !== names.length || cells.some((cell) => Number.isNaN(cell))) {
      throw fatal('invalid_rows', `${file}: line ${at + 2}: ${names.length} numbers are expected`)
    }
    const outputs = cells.filter((_, column) => OUTPUT_COLUMN.test(names[column] ?? ''))
    return {
      features: features.map((name) => cells[names.indexOf(name)] ?? null),
      outputs: outputs.length === 0 ? null : numbers(outputs, `${file}: line ${at + 2}`),
    }
  })
}

function cellsOf(line: string): readonly string[] {
  return line.split(',').map((cell) => cell.trim().replace(/^"(.*)"$/, '$1'))
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
