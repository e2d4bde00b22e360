import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { onTestFinished } from 'vitest'
import { uniqueName } from './unique-name.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')

export const FLIGHTS = path.join(ROOT, 'infra/sample/flights')
export const ORDERS = path.join(ROOT, 'test/fixtures/pipelines/orders')

/**
 * A copy of a pipeline folder under a name of its own, so that tests share one stack without sharing topics. It lies
 * inside the checkout, where `import 'millrace'` resolves. Gone when the test is.
 */
export function copyPipeline(
  folder: string,
  edit: (source: string) => string = (source) => source,
): { name: string; folder: string } {
  const name = uniqueName(path.basename(folder))
  const copy = path.join(ROOT, '.millrace/test-pipelines', name)
  cpSync(folder, copy, { recursive: true })
  onTestFinished(() => rmSync(copy, { recursive: true, force: true }))
  const file = path.join(copy, 'pipeline.ts')
  const source = readFileSync(file, 'utf8')
  const renamed = source.replace(/name: '[a-z-]+',/, `name: '${name}',`)
  if (renamed === source) throw new Error(`${file} has no name to replace`)
  writeFileSync(file, edit(renamed))
  return { name, folder: copy }
}
