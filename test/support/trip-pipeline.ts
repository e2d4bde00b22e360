import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { number } from 'millrace'
import { onTestFinished } from 'vitest'
import { compilePipeline } from '../../schemas/pipeline/load.ts'
import { PipelineError } from '../../schemas/pipeline/problems.ts'

const TIME = { type: 'long', logicalType: 'timestamp-millis' }
const EVENT = {
  type: 'record',
  name: 'Trip',
  fields: [
    { name: 'id', type: 'string' },
    { name: 'at', type: TIME },
    { name: 'maybe_at', type: ['null', TIME], default: null },
    { name: 'maybe_id', type: ['null', 'string'], default: null },
    { name: 'km', type: 'double' },
    { name: 'seats', type: ['null', 'int'], default: null },
    { name: 'carrier', type: 'string' },
    { name: 'cabin', type: { type: 'enum', name: 'Cabin', symbols: ['first', 'second'] } },
    { name: 'late', type: 'boolean' },
    { name: 'stops', type: { type: 'array', items: 'string' } },
    { name: 'raw', type: 'bytes' },
  ],
}
const WEATHER = {
  type: 'record',
  name: 'Weather',
  fields: [
    { name: 'airport', type: 'string' },
    { name: 'hour', type: 'long' },
    { name: 'at', type: TIME },
    { name: 'wind', type: ['null', 'double'], default: null },
    { name: 'storm', type: 'boolean' },
    { name: 'station', type: 'string' },
  ],
}
const LABEL = {
  type: 'record',
  name: 'Arrival',
  fields: [
    { name: 'id', type: 'string' },
    { name: 'at', type: TIME },
    { name: 'delay', type: 'int' },
  ],
}

/** A definition without a problem, and its parts. */
export const event = { schema: './event.avsc', id: 'id', time: 'at' }
export const weather = { schema: './weather.avsc', key: ['airport', 'hour'], time: 'at', maxAge: '3h' }
export const model = {
  name: 'trip',
  alias: 'production',
  output: { tensor: 'probabilities', index: 1 },
  budget: '20ms',
}
export const label = { schema: './label.avsc', id: 'id', time: 'at', value: (): number => 1 }
export const sound = {
  name: 'trips',
  event,
  tables: { weather },
  features: { km: number<never>('km' as never) },
  model,
  label,
}

/** A folder with the schemas that `sound` names. Gone when the test is. */
export function tripFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'millrace-pipeline-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(path.join(folder, 'event.avsc'), JSON.stringify(EVENT))
  writeFileSync(path.join(folder, 'weather.avsc'), JSON.stringify(WEATHER))
  writeFileSync(path.join(folder, 'label.avsc'), JSON.stringify(LABEL))
  return folder
}

/** Problems as `<file>: <path>: <message>`, files relative to the folder. */
export function problemsOf(folder: string, definition: unknown): readonly string[] {
  try {
    compilePipeline(folder, definition)
    return []
  } catch (error) {
    if (!(error instanceof PipelineError)) throw error
    return error.message.replaceAll(`${folder}/`, '').split('\n')
  }
}
