import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { onTestFinished } from 'vitest'
import { type ModelVersion, writeVersion } from './model-version.ts'
import { uniqueName } from './unique-name.ts'

const PIPELINES = path.resolve(import.meta.dirname, '../../.millrace/test-pipelines')

const EVENT = {
  type: 'record',
  name: 'Reading',
  fields: [
    { name: 'id', type: 'string' },
    { name: 'at', type: { type: 'long', logicalType: 'timestamp-millis' } },
    { name: 'a', type: 'double' },
    { name: 'b', type: 'double' },
    { name: 'c', type: 'double' },
  ],
}

const source = (name: string): string => `import { definePipeline, number } from 'millrace'

export default definePipeline({
  name: '${name}',
  event: { schema: './event.avsc', id: 'id', time: 'at' },
  features: { a: number('a'), b: number('b'), c: number('c') },
  model: { name: 'm', alias: 'production', output: { tensor: 'score', index: 0 }, budget: '20ms' },
})
`

export interface Reading {
  readonly id: string
  /** What sets a model of onnx/hostile-models.ts off, or does not. */
  readonly a: number
}

/** An event of the pipeline. */
export const readingOf = ({ id, a }: Reading): object => ({ id, at: Date.UTC(2026, 0, 5), a, b: 2, c: 3 })

/** The folder of a pipeline of three numbers with one model, under a name of its own. Gone when the test is. */
export function hostilePipeline(version: ModelVersion): string {
  const name = uniqueName('readings')
  const folder = path.join(PIPELINES, name)
  mkdirSync(folder, { recursive: true })
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(path.join(folder, 'pipeline.ts'), source(name))
  writeFileSync(path.join(folder, 'event.avsc'), JSON.stringify(EVENT))
  cpSync(writeVersion(version), path.join(folder, 'models/1'), { recursive: true })
  return folder
}
