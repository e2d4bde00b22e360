import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { pipelineTypes } from '../../../schemas/pipeline/generate.ts'
import { loadRecords } from '../../../schemas/pipeline/load.ts'

export function register(program: Command): void {
  program
    .command('generate')
    .description("write generated/records.ts, the types of a pipeline's Avro schemas")
    .argument('<folder>', 'pipeline folder')
    .action(async (folder: string) => {
      const text = pipelineTypes(await loadRecords(folder))
      const file = join(folder, 'generated', 'records.ts')
      mkdirSync(join(folder, 'generated'), { recursive: true })
      writeFileSync(file, text)
      console.log(`wrote ${file}`)
    })
}
