/**
 * Writes every generated file of the repository, or with --check fails when one differs from what would be written.
 */
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { parseRecordSchema } from '../../schemas/pipeline/avro-schema.ts'
import { pipelineTypes, recordTypes } from '../../schemas/pipeline/generate.ts'
import { loadRecords } from '../../schemas/pipeline/load.ts'
import { pagesWithGeneratedParts } from './readme.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')

function contracts(): readonly [file: string, text: string] {
  const files = globSync('schemas/avro/*.avsc', { cwd: ROOT }).sort()
  const records = files.map((file) => parseRecordSchema(JSON.parse(readFileSync(path.join(ROOT, file), 'utf8'))))
  return ['schemas/generated/records.ts', recordTypes(records, 'schemas/avro/*.avsc', 'npm run generate')]
}

async function pipelines(): Promise<readonly (readonly [file: string, text: string])[]> {
  const folders = globSync(['infra/{sample,bench}/*/pipeline.ts', 'test/fixtures/pipelines/*/pipeline.ts'], {
    cwd: ROOT,
  })
  return Promise.all(
    folders.map(path.dirname).map(async (folder) => {
      const text = pipelineTypes(await loadRecords(path.join(ROOT, folder)))
      return [path.join(folder, 'generated/records.ts'), text] as const
    }),
  )
}

const check = process.argv.includes('--check')
let differing = 0
for (const [file, text] of [contracts(), ...(await pipelines()), ...pagesWithGeneratedParts(ROOT)]) {
  const absolute = path.join(ROOT, file)
  if (existsSync(absolute) && readFileSync(absolute, 'utf8') === text) continue
  differing++
  if (check) {
    console.error(`${file} is out of date: run npm run generate`)
  } else {
    mkdirSync(path.dirname(absolute), { recursive: true })
    writeFileSync(absolute, text)
    console.log(`wrote ${file}`)
  }
}
if (check && differing > 0) process.exitCode = 1
