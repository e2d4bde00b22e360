import { spawnSync } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { parseRecordSchema } from '../../schemas/pipeline/avro-schema.ts'
import { pipelineTypes, recordTypes } from '../../schemas/pipeline/generate.ts'
import { loadRecords } from '../../schemas/pipeline/load.ts'
import { FLIGHTS, ORDERS } from '../support/pipeline-copy.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')

test('the definition API accepts what it should and refuses misspelt fields at compile time', () => {
  const tsc = path.join(ROOT, 'node_modules/typescript/bin/tsc')
  const result = spawnSync(process.execPath, [tsc, '-p', path.join(import.meta.dirname, 'types')], { encoding: 'utf8' })
  expect(result.stdout).toBe('')
  expect(result.status).toBe(0)
})

test('generated files are up to date', async () => {
  for (const folder of [FLIGHTS, ORDERS]) {
    const text = readFileSync(path.join(folder, 'generated/records.ts'), 'utf8')
    expect(pipelineTypes(await loadRecords(folder))).toBe(text)
  }
  const files = globSync('schemas/avro/*.avsc', { cwd: ROOT }).sort()
  const records = files.map((file) => parseRecordSchema(JSON.parse(readFileSync(path.join(ROOT, file), 'utf8'))))
  const text = readFileSync(path.join(ROOT, 'schemas/generated/records.ts'), 'utf8')
  expect(recordTypes(records, 'schemas/avro/*.avsc', 'npm run generate')).toBe(text)
})

test('every Avro type has its TypeScript type', () => {
  const event = parseRecordSchema({
    type: 'record',
    name: 'Trip',
    namespace: 'a',
    doc: 'A trip\n  over */ lines.',
    fields: [
      { name: 'id', type: 'string' },
      { name: 'at', type: { type: 'long', logicalType: 'timestamp-millis' }, doc: 'When.' },
      { name: 'day', type: ['null', { type: 'int', logicalType: 'date' }] },
      { name: 'cabin', type: ['null', { type: 'enum', name: 'Cabin', symbols: ['A', 'B'] }] },
      { name: 'cabins', type: { type: 'array', items: 'Cabin' } },
      { name: 'codes', type: { type: 'map', values: { type: 'fixed', name: 'Code', size: 2 } } },
      { name: 'either', type: ['int', 'string', 'null'] },
      { name: 'wrapped', type: ['null', 'int', 'double', 'Code'] },
      { name: 'next', type: ['null', 'Trip'] },
      {
        name: 'stop',
        type: {
          type: 'record',
          name: 'b.Stop',
          fields: [
            { name: 'ok', type: 'boolean' },
            { name: 'raw', type: 'bytes' },
          ],
        },
      },
    ],
  })
  const table = parseRecordSchema({
    type: 'record',
    name: 'Stop',
    namespace: 'c',
    fields: [{ name: 'n', type: 'float' }],
  })
  expect(pipelineTypes({ event, label: null, tables: { stops: table } })).toBe(`\
// Generated from the pipeline's Avro schemas by \`millrace generate\`. Do not edit.

/** A trip over *\\/ lines. */
export interface Trip {
  readonly id: string
  /** When. Milliseconds since 1970-01-01 UTC. */
  readonly at: number
  /** Days since 1970-01-01. */
  readonly day: number | null
  readonly cabin: 'A' | 'B' | null
  readonly cabins: readonly ('A' | 'B')[]
  readonly codes: Readonly<Record<string, Buffer>>
  readonly either: number | string | null
  readonly wrapped: { readonly 'int': number } | { readonly 'double': number } | { readonly 'a.Code': Buffer } | null
  readonly next: Trip | null
  readonly stop: BStop
}

export interface BStop {
  readonly ok: boolean
  readonly raw: Buffer
}

export interface CStop {
  readonly n: number
}

/** What \`definePipeline\` is typed with. */
export interface Records {
  readonly event: Trip
  readonly label: null
  readonly tables: {
    readonly stops: CStop
  }
}
`)
})
