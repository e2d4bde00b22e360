import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import path from 'node:path'
import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { fatal } from '../../../infra/runtime/errors.ts'
import { sqlName, sqlText } from '../../../schemas/clickhouse/sql-text.ts'
import { digestOfFile } from '../../../schemas/file-digest.ts'
import type { CompiledFeature } from '../../../schemas/pipeline/compiled.ts'
import { avroFieldTypes } from './avro-header.ts'
import { type ReferenceRows, withScratchTable } from './reference-rows.ts'

/** A reference as a file of rows: columns have the features' names, and hold them as the model sees them. */
export interface ReferenceFile {
  readonly file: string
  /** Names of columns; null = the file has none. */
  readonly score: string | null
  readonly label: string | null
  readonly segment: string | null
  /** Timestamps (of Avro: with a logical type); absent = none. */
  readonly time?: string | null
}

type FileFormat = 'Parquet' | 'Avro' | 'JSON'

const HEAD_BYTES = 4

/** What the file is, by how it begins. Throws `reference_unreadable` (crash). */
export async function formatOf(file: string): Promise<FileFormat> {
  let head: Buffer
  try {
    const handle = await open(file)
    try {
      head = (await handle.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0)).buffer
    } finally {
      await handle.close()
    }
  } catch (error) {
    throw fatal('reference_unreadable', `${file} cannot be read: ${(error as Error).message}`, error)
  }
  const text = head.toString('latin1')
  if (text === 'PAR1') return 'Parquet'
  if (text === 'Obj\x01') return 'Avro'
  if (text.trimStart().startsWith('{')) return 'JSON'
  throw fatal('reference_unreadable', `${file} is neither a Parquet nor an Avro file, nor a profile`)
}

/** As a profile names it. */
export async function sourceOf(file: string): Promise<{ kind: 'file'; name: string; sha256: string }> {
  const { sha256 } = await digestOfFile(file)
  return { kind: 'file', name: path.basename(file), sha256 }
}

/**
 * Fills the table with the rows of the file. The server reads it: whatever its types are, they become numbers, or for categories the
 * numbers of their names (numbers are taken as they are). What is null or NaN has the feature's own value for missing.
 */
export async function copyFile(
  clickhouse: Pick<ClickHouseClient, 'command' | 'rows' | 'insertFile'>,
  features: readonly CompiledFeature[],
  reference: ReferenceFile,
  table: string,
): Promise<ReferenceRows> {
  const { file, score, label, segment, time = null } = reference
  const format = await formatOf(file)
  if (format === 'JSON') throw fatal('reference_unreadable', `${file} is a profile, not rows`)
  const types = format === 'Avro' ? await avroFieldTypes(file) : null
  const names = [...features.map(({ name }) => name), ...[score, label, segment, time].filter((name) => name !== null)]
  const repeated = names.find((name, index) => names.indexOf(name) < index)
  if (repeated !== undefined) throw fatal('invalid_option', `the column ${repeated} is asked for twice`)
  const texts = new Set([...features.flatMap((f) => (f.kind === 'category' ? [f.name] : [])), segment])
  const columns = names.map((name, index) => {
    // Avro's numbers do not become texts by themselves
    const isText = texts.has(name) && types?.get(name) !== 'number'
    return { name, column: `c${index}`, type: isText ? ('text' as const) : ('number' as const) }
  })
  const of = (name: string | null): (typeof columns)[number] | undefined => columns.find((each) => each.name === name)
  const ddl = columns.map(({ name, type }) => {
    const stored = name === time ? `DateTime64(3, 'UTC')` : type === 'text' ? 'String' : 'Float64'
    return `${sqlName(name)} Nullable(${stored})`
  })
  return await withScratchTable(clickhouse, ddl.join(', '), async (raw) => {
    await clickhouse.insertFile(raw, names, format, createReadStream(file))
    const values = features.map((feature) => featureSql(feature, of(feature.name)?.type ?? 'number'))
    const number = (name: string | null): string => (name === null ? 'nan' : `ifNull(${sqlName(name)}, nan)`)
    const text = segment === null ? `''` : `ifNull(toString(${sqlName(segment)}), '')`
    const at = time === null ? 'nan' : `ifNull(toFloat64(toUnixTimestamp64Milli(${sqlName(time)})), nan)`
    await clickhouse.command(
      `INSERT INTO ${table} (features, score, label, segment, at)
       SELECT [${values.join(', ')}], toFloat32(${number(score)}), ${number(label)}, ${text}, ${at} FROM ${raw}`,
    )
    return { table, hasScore: score !== null, hasTimes: time !== null }
  })
}

function featureSql(feature: CompiledFeature, type: 'text' | 'number'): string {
  const column = sqlName(feature.name)
  const missing = float32(feature.missing)
  if (type === 'number') return `if(isNaN(ifNull(${column}, nan)), ${missing}, toFloat32(ifNull(${column}, nan)))`
  const [values, unseen] = feature.kind === 'category' ? [feature.values, feature.unseen] : [[], Number.NaN]
  const known = `CAST([${values.map((_, index) => index).join(', ')}], 'Array(Float32)')`
  const name = `ifNull(${column}, '')`
  const other = `ifNull(toFloat32OrNull(${name}), ${float32(unseen)})`
  return `if(isNull(${column}), ${missing}, transform(${name}, [${values.map(sqlText).join(', ')}], ${known}, ${other}))`
}

function float32(value: number): string {
  return Number.isNaN(value) ? 'toFloat32(nan)' : `toFloat32(${value})`
}
