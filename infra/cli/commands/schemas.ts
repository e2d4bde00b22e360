import type { Command } from 'commander'
import { loadPipeline } from '../../../schemas/pipeline/load.ts'
import { commandConnections } from '../connections.ts'
import { registerSchemas } from '../deployment/register-schemas.ts'

export function register(program: Command): void {
  program
    .command('schemas')
    .description('register the schemas of a pipeline; an incompatible change is refused')
    .argument('<folder>', 'pipeline folder')
    .action(async (folder: string) => {
      const pipeline = await loadPipeline(folder)
      for (const { subject, schemaId } of await registerSchemas(commandConnections(process.env).registry, pipeline)) {
        console.log(`${String(schemaId).padStart(5)}  ${subject}`)
      }
    })
}
