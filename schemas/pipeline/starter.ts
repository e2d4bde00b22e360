/** The files that a new pipeline starts with, from the schema of its events. */
import { type AvroField, type AvroRecord, parseRecordSchema, type ScalarType, scalarOf } from './avro-schema.ts'
import { pipelineTypes } from './generate.ts'
import { PipelineError } from './problems.ts'

interface UsableField {
  readonly name: string
  readonly type: ScalarType
}

/**
 * Texts by file name, without event.avsc, which is copied. Every field with a single value becomes a feature, or a
 * comment that says what it lacks. Throws PipelineError (naming `file`) when no field can be the id or the time.
 */
export function starterFiles(name: string, event: AvroRecord, file: string): ReadonlyMap<string, string> {
  const fields = event.fields.flatMap(usable)
  const ids = fields.filter(({ type }) => type.js === 'string' && type.symbols === null && !type.nullable)
  const id = ids.find((field) => /(^|_)(id|uuid)$/i.test(field.name)) ?? ids[0]
  const time = fields.find(({ type }) => type.timestampMillis && !type.nullable)
  const missing = (what: string): PipelineError =>
    new PipelineError([{ file, path: 'fields', message: `a pipeline's event needs ${what}; there is none` }])
  if (id === undefined) throw missing('a string field that is never null, for its id')
  if (time === undefined)
    throw missing('a long field with logicalType timestamp-millis that is never null, for its time')
  const label = labelSchema(name, id.name)
  return new Map([
    ['label.avsc', `${JSON.stringify(label, null, 2)}\n`],
    ['generated/records.ts', pipelineTypes({ event, label: parseRecordSchema(label), tables: {} })],
    ['pipeline.ts', pipelineText(name, id.name, time.name, fields)],
  ])
}

function usable(field: AvroField): readonly UsableField[] {
  const type = scalarOf(field.type)
  return type === null ? [] : [{ name: field.name, type }]
}

function labelSchema(name: string, id: string): object {
  return {
    type: 'record',
    name: 'Label',
    namespace: name.replaceAll('-', '_'),
    doc: 'What turned out to be true of an event.',
    fields: [
      { name: id, type: 'string', doc: `${id} of the event.` },
      { name: 'value', type: 'double', doc: 'The truth that the model predicts.' },
      { name: 'known_at', type: { type: 'long', logicalType: 'timestamp-millis' }, doc: 'When it became known.' },
    ],
  }
}

function pipelineText(name: string, id: string, time: string, fields: readonly UsableField[]): string {
  const lines = fields.filter((field) => field.name !== id && field.name !== time).map(featureLine)
  // A pipeline needs a feature: where no field is one by itself, the time of day is.
  const hour = `derive(['${time}'], (at) => new Date(at).getUTCHours())`
  if (lines.every((line) => line.startsWith('//')))
    lines.push(`${fields.some((f) => f.name === 'hour_of_day') ? 'utc_hour' : 'hour_of_day'}: ${hour},`)
  const used = ['category', 'derive', 'flag', 'number'].filter((word) =>
    lines.some((line) => !line.startsWith('//') && line.includes(`: ${word}(`)),
  )
  return `import { ${['definePipeline', ...used].sort().join(', ')} } from 'millrace'
import type { Records } from './generated/records.ts'

export default definePipeline<Records>({
  name: '${name}',
  event: { schema: './event.avsc', id: '${id}', time: '${time}' },
  features: {
${lines.map((line) => `    ${line}`).join('\n')}
  },
  model: { name: '${name}', alias: 'production', output: { tensor: 'probabilities', index: 1 }, budget: '20ms' },
  label: { schema: './label.avsc', id: '${id}', value: (label) => label.value, time: 'known_at' },
})
`
}

function featureLine({ name, type }: UsableField): string {
  if (type.symbols !== null) return `${name}: category('${name}', [${type.symbols.map((s) => `'${s}'`).join(', ')}]),`
  if (type.timestampMillis) return `// ${name}: derive(['${name}'], (at) => …), a number computed from the time`
  if (type.js === 'string') return `// ${name}: category('${name}', ['…', '…']), with the values that the model knows`
  return `${name}: ${type.js === 'boolean' ? 'flag' : 'number'}('${name}'),`
}
