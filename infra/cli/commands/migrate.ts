import { type Command, InvalidArgumentError } from 'commander'
import type { Analyst } from '../../../schemas/clickhouse/analyst.ts'
import { parseRetention, type Retention } from '../../../schemas/clickhouse/retention.ts'
import { optionalTextVariable, readConfig } from '../../runtime/config.ts'
import { commandConnections } from '../connections.ts'
import { migratePipeline, migrationScript } from '../deployment/migrate-pipeline.ts'

const ANALYST = {
  password: optionalTextVariable(
    'MILLRACE_ANALYST_PASSWORD',
    'Password of the user that `millrace migrate --analyst` makes',
  ),
} as const

interface Options {
  readonly keep: readonly Retention[]
  readonly cluster?: string
  readonly analyst?: string
  readonly tenant?: string
  readonly print?: true
}

export function register(program: Command): void {
  program
    .command('migrate')
    .description('bring the ClickHouse tables and the views of a pipeline up to date; safe to repeat')
    .argument('<folder>', 'pipeline folder')
    .option(
      '--keep <table=days>',
      'how long rows are kept, as predictions=90d, labels=forever or backfill_predictions=30d; may be repeated',
      addRetention,
      [],
    )
    .option('--cluster <name>', 'replicated tables on every server of this cluster')
    .option('--analyst <user>', 'make a user who only reads; MILLRACE_ANALYST_PASSWORD is the password')
    .option('--tenant <tenant>', 'the analyst sees the rows of this tenant alone')
    .option('--print', 'print the statements instead')
    .action(async (folder: string, { keep, cluster, analyst, tenant, print }: Options) => {
      const { settings } = commandConnections(process.env)
      const options = { keep, cluster: cluster ?? null, analyst: analystOf(analyst, tenant) }
      if (print) {
        process.stdout.write(await migrationScript(folder, settings, options))
        return
      }
      const { applied, views, kept } = await migratePipeline(folder, settings, options)
      for (const name of applied) console.log(`applied  ${name}`)
      for (const view of views) console.log(`view     ${settings.clickhouseDatabase}.${view}`)
      for (const table of kept) console.log(`kept     ${settings.clickhouseDatabase}.${table}`)
      if (analyst !== undefined) console.log(`analyst  ${analyst}`)
    })
}

function analystOf(name: string | undefined, tenant: string | undefined): Analyst | null {
  if (name === undefined) {
    if (tenant !== undefined) throw new Error('--tenant goes with --analyst')
    return null
  }
  const { password } = readConfig(ANALYST, process.env)
  if (password === undefined || password === '')
    throw new Error('--analyst needs a password in MILLRACE_ANALYST_PASSWORD')
  return { name, password, tenant: tenant ?? null }
}

function addRetention(text: string, before: readonly Retention[]): readonly Retention[] {
  try {
    return [...before, parseRetention(text)]
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message)
  }
}
