/** golden.json of a pipeline folder: events, and what must come of them. */
import path from 'node:path'
import { parseRecordSchema } from './avro-schema.ts'
import type { CompiledPipeline } from './compiled.ts'
import { type Cursor, cursor } from './cursor.ts'
import { PipelineError, type Problem, suggest } from './problems.ts'
import { readJson } from './read-json.ts'

type JsonRecord = Readonly<Record<string, unknown>>

export interface GoldenEvent {
  readonly event: JsonRecord
  /** Rows that lookups find, by table; a table that is not here is empty. */
  readonly tables: ReadonlyMap<string, JsonRecord>
  readonly expect: GoldenPrediction | GoldenReject
}

export interface GoldenPrediction {
  /** In the pipeline's order; null = missing (NaN). */
  readonly features: readonly (number | null)[]
  readonly score: number
  /** Null = not looked at. */
  readonly label: string | null
}

/** Reason of the dead letter that the event must become. */
interface GoldenReject {
  readonly reject: string
}

/** Reads `<folder>/golden.json`. Throws PipelineError with everything that is wrong in it. */
export function readGolden(pipeline: CompiledPipeline): readonly GoldenEvent[] {
  const file = path.join(pipeline.folder, 'golden.json')
  const problems: Problem[] = []
  const root = cursor(readJson(file), '', (where, message) => problems.push({ file, path: where, message }))
  const events = (root.list() ?? []).map((member) => readEvent(pipeline, member))
  if (problems.length === 0 && events.length === 0) root.problem('at least one golden event is needed')
  if (problems.length > 0) throw new PipelineError(problems)
  return events.filter((event) => event !== null)
}

function readEvent(pipeline: CompiledPipeline, place: Cursor): GoldenEvent | null {
  const members = place.object<'event' | 'expect' | 'tables'>(['event', 'expect'], ['tables'])
  if (members === null) return null
  const event = readRecord(members.event, pipeline.event.schema)
  const tables = new Map<string, JsonRecord>()
  for (const [name, member] of members.tables.entries() ?? []) {
    const table = pipeline.tables.find((candidate) => candidate.name === name)
    const names = pipeline.tables.map((candidate) => candidate.name)
    if (table === undefined) member.problem(`there is no table ${name}${suggest(name, names)}`)
    else if (member.value !== null) tables.set(name, readRecord(member, table.schema))
  }
  const expect = readExpectation(members.expect, pipeline.features.length)
  return expect === null ? null : { event, tables, expect }
}

/** Names are checked here; values are, when the record is encoded. */
function readRecord(place: Cursor, schema: CompiledPipeline['event']['schema']): JsonRecord {
  const fields = parseRecordSchema(schema).fields.map((field) => field.name)
  const record: Record<string, unknown> = {}
  for (const [name, member] of place.entries() ?? []) {
    if (!fields.includes(name)) member.problem(`there is no such field${suggest(name, fields)}`)
    record[name] = member.value
  }
  return record
}

function readExpectation(place: Cursor, width: number): GoldenEvent['expect'] | null {
  const { reject } = Object.fromEntries(place.entries() ?? [])
  if (reject !== undefined) {
    const reason = place.object(['reject'])?.reject.string() ?? null
    return reason === null ? null : { reject: reason }
  }
  const members = place.object<'features' | 'score' | 'label'>(['features', 'score'], ['label'])
  if (members === null) return null
  const cells = members.features.list() ?? []
  if (members.features.given && cells.length !== width) {
    members.features.problem(`${cells.length} numbers, the pipeline has ${width} features`)
  }
  const features = cells.map((cell) => (cell.value === null ? null : cell.number()))
  return { features, score: members.score.number() ?? Number.NaN, label: members.label.string() }
}
