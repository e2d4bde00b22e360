import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { asyncApi } from '../../../schemas/asyncapi.ts'
import { loadPipeline } from '../../../schemas/pipeline/load.ts'
import { readTopicContracts } from '../../runtime/stage-contracts.ts'

export function register(program: Command): void {
  program
    .command('asyncapi')
    .description('print the AsyncAPI document of the topics of a pipeline')
    .argument('<folder>', 'pipeline folder')
    .action(async (folder: string) => {
      const pipeline = await loadPipeline(folder)
      const file = fileURLToPath(import.meta.resolve('millrace/package.json'))
      const { version } = JSON.parse(await readFile(file, 'utf8')) as { readonly version: string }
      console.log(JSON.stringify(asyncApi(pipeline, await readTopicContracts(), version), null, 2))
    })
}
