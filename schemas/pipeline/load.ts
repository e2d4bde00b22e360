/** Reads a pipeline folder and checks it as a whole, before anything runs. */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { AvroSchemaError, parseRecordSchema } from './avro-schema.ts'
import { compileEvent, compileLabel, compileModelChoice, compileTables, type LoadedSchema } from './compile-event.ts'
import { compileChecks, compileFeatures } from './compile-features.ts'
import { compileHttp } from './compile-http.ts'
import { compileMonitor } from './compile-monitor.ts'
import type { AvroSchema, CompiledPipeline } from './compiled.ts'
import { type Cursor, cursor } from './cursor.ts'
import { featureSetOf } from './feature-set.ts'
import type { GeneratedRecords } from './generate.ts'
import { DEFAULT_MONITOR } from './monitor.ts'
import { PipelineError, type Problem } from './problems.ts'
import { readJson } from './read-json.ts'

/** Imports `<folder>/pipeline.ts` (or .js, .mjs) and compiles it. Throws PipelineError with everything that is wrong. */
export async function loadPipeline(folder: string): Promise<CompiledPipeline> {
  const { file, definition } = await importDefinition(folder)
  return compilePipeline(folder, definition, file)
}

/** The record schemas that a folder's types are generated from; what else may be wrong with the pipeline is not looked at. */
export async function loadRecords(folder: string): Promise<GeneratedRecords> {
  const { file, definition } = await importDefinition(folder)
  const problems: Problem[] = []
  const schemaOf = schemaReader(folder, problems)
  const root = cursor(definition, '', reportTo(problems, file))
  const { event, label, tables } = Object.fromEntries(root.entries() ?? [])
  const record = (place: Cursor | undefined): LoadedSchema['record'] | null => {
    const { schema } = Object.fromEntries(place?.entries() ?? [])
    if (schema === undefined) root.problem(`${place?.path ?? 'event'} needs a schema`)
    return schema === undefined ? null : (schemaOf(schema)?.record ?? null)
  }
  const rows = (tables?.entries() ?? []).map(([name, place]) => [name, record(place)] as const)
  const found = { event: record(event), label: label?.given ? record(label) : null }
  if (problems.length > 0 || found.event === null) throw new PipelineError(problems)
  const readable = rows.flatMap(([name, row]) => (row === null ? [] : [[name, row] as const]))
  return { event: found.event, label: found.label, tables: Object.fromEntries(readable) }
}

/** Compiles a definition whose schema files lie in the folder; `file` is named in what is reported about it. */
export function compilePipeline(
  folder: string,
  definition: unknown,
  file = path.join(folder, 'pipeline.ts'),
): CompiledPipeline {
  const problems: Problem[] = []
  const root = cursor(definition, '', reportTo(problems, file))
  const schemaOf = schemaReader(folder, problems)
  const optional = ['tables', 'validate', 'dedupe', 'label', 'http', 'monitor'] as const
  const required = ['name', 'event', 'features', 'model'] as const
  const top = root.object<(typeof required)[number] | (typeof optional)[number]>(required, optional)
  const name = top === null ? null : readName(top.name)
  const tables = top === null ? new Map() : compileTables(name ?? '', top.tables, schemaOf)
  const event = top === null ? null : compileEvent(name ?? '', top.event, schemaOf)
  const label = top?.label.given ? compileLabel(name ?? '', top.label, schemaOf) : null
  const model = top === null ? null : compileModelChoice(path.resolve(folder), top.model)
  const checks = top === null || event === null ? [] : compileChecks(top.validate, event.record)
  const dedupe = top?.dedupe.given ? compileDedupe(top.dedupe) : null
  const features = top === null || event === null ? [] : compileFeatures(top.features, event.record, tables)
  const http = top?.http.given && event !== null ? compileHttp(top.http, event) : null
  const watched = { features: features.map((feature) => feature.name), labelled: label !== null }
  const monitor = top?.monitor.given ? compileMonitor(top.monitor, watched) : DEFAULT_MONITOR
  if (problems.length > 0 || name === null || event === null || model === null) throw new PipelineError(problems)
  return Object.freeze({
    name,
    folder: path.resolve(folder),
    event: event.compiled,
    tables: [...tables.values()].flatMap((table) => (table === null ? [] : [table.compiled])),
    checks,
    dedupe,
    features,
    featureSet: featureSetOf(features.map((feature) => ({ name: feature.name, ...feature.type }))),
    model,
    label: label?.compiled ?? null,
    http,
    monitor,
  })
}

/** Ids of a whole window are kept in memory, for each partition. */
const MAX_DEDUPE_WINDOW = 10_000_000

function compileDedupe(place: Cursor): CompiledPipeline['dedupe'] {
  const window = place
    .object(['window'])
    ?.window.number(
      (value) => Number.isInteger(value) && value >= 1 && value <= MAX_DEDUPE_WINDOW,
      `a whole number of records from 1 to ${MAX_DEDUPE_WINDOW}`,
    )
  return window === null || window === undefined ? null : { window }
}

export const PIPELINE_NAME = /^[a-z][a-z0-9-]*$/
export const PIPELINE_NAME_EXPECTED = 'a pipeline name: lower-case letters, digits and dashes, a letter first'

function readName(place: Cursor): string | null {
  const name = place.string(PIPELINE_NAME, PIPELINE_NAME_EXPECTED)
  return name === 'millrace' ? place.problem('a pipeline may not be named millrace: its topics are shared ones') : name
}

function reportTo(problems: Problem[], file: string): (path: string, message: string) => void {
  return (where, message) => problems.push({ file, path: where, message })
}

async function importDefinition(folder: string): Promise<{ readonly file: string; readonly definition: unknown }> {
  const candidates = ['pipeline.ts', 'pipeline.js', 'pipeline.mjs'].map((name) => path.join(folder, name))
  const file = candidates.find((candidate) => existsSync(candidate))
  if (file === undefined) {
    const message = 'there is no pipeline.ts (or pipeline.js, pipeline.mjs) in this folder'
    throw new PipelineError([{ file: folder, path: '', message }])
  }
  let module: Readonly<Record<string, unknown>>
  try {
    module = await import(pathToFileURL(path.resolve(file)).href)
  } catch (error) {
    const message = `could not be loaded: ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`
    throw new PipelineError([{ file, path: '', message }])
  }
  if (module['default'] !== undefined) return { file, definition: module['default'] }
  throw new PipelineError([{ file, path: '', message: 'has no default export: export default definePipeline({ … })' }])
}

function schemaReader(folder: string, problems: Problem[]): (place: Cursor) => LoadedSchema | null {
  return (place) => {
    const name = place.string()
    if (name === null) return null
    const file = path.join(folder, name)
    try {
      const json = readJson(file)
      return { json: json as AvroSchema, record: parseRecordSchema(json) }
    } catch (error) {
      if (error instanceof PipelineError) problems.push(...error.problems)
      else if (error instanceof AvroSchemaError) problems.push({ file, path: error.path, message: error.message })
      else throw error
      return null
    }
  }
}
