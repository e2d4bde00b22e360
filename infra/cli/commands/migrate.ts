import type { Command } from 'commander'
import { commandConnections } from '../connections.ts'
import { migratePipeline } from '../deployment/migrate-pipeline.ts'

export function register(program: Command): void {
  program
    .command('migrate')
    .description('bring the ClickHouse tables and the views of a pipeline up to date; safe to repeat')
    .argument('<folder>', 'pipeline folder')
    .action(async (folder: string) => {
      const { settings } = commandConnections(process.env)
      const { applied, views } = await migratePipeline(folder, settings)
      for (const name of applied) console.log(`applied  ${name}`)
      for (const view of views) console.log(`view     ${settings.clickhouseDatabase}.${view}`)
    })
}
