import { type Command, InvalidArgumentError } from 'commander'
import { loadPipeline } from '../../../schemas/pipeline/load.ts'
import { PipelineError } from '../../../schemas/pipeline/problems.ts'
import { type ClickHouseClient, createClickHouse } from '../../runtime/clickhouse/clickhouse-client.ts'
import { systemClock } from '../../runtime/clock.ts'
import { clickHouseConfig } from '../../runtime/config.ts'
import { describeError } from '../../runtime/errors.ts'
import { startKafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import { auditLines, totalsOf } from '../audit/report.ts'
import { type AuditOptions, type AuditResult, runAudit } from '../audit/run-audit.ts'
import { commandConnections, logConnections } from '../connections.ts'
import { loadStageModule } from '../stage-module.ts'
import { positive } from './topics.ts'

const EXIT_CODES = { exact: 0, violated: 1, unknown: 2 } as const
const QUERY_TIMEOUT_MS = 300_000

interface Options {
  readonly from?: number
  readonly to?: number
  readonly examples: number
  readonly json: boolean
}

export function register(program: Command): void {
  program
    .command('audit')
    .description('prove from the topics and ClickHouse that every record has ended exactly once')
    .argument('<folder>', 'pipeline folder')
    .option('--from <time>', 'only what was appended from then on (ISO 8601)', time)
    .option('--to <time>', 'only what was appended before (ISO 8601)', time)
    .option('--examples <n>', 'how many faults of each kind are shown, per partition', positive, 5)
    .option('--json', 'print one JSON object', false)
    .addHelpText('after', '\nExit code: 0 = exact, 1 = something is wrong, 2 = could not tell.')
    .action(async (folder: string, options: Options) => {
      try {
        const window = { from: options.from ?? null, to: options.to ?? null }
        const { panes, ...result } = await audit(folder, { window, maxExamples: options.examples })
        if (options.json) console.log(JSON.stringify({ ...result, totals: totalsOf(result.lanes), panes }))
        else for (const line of [...auditLines(result), ...paneLines(panes, options.examples)]) console.log(line)
        process.exitCode = EXIT_CODES[result.verdict]
      } catch (error) {
        const message = error instanceof PipelineError ? error.message : describeError(error).message
        console.error(`millrace: could not tell: ${message}`)
        process.exitCode = EXIT_CODES.unknown
      }
    })
}

async function audit(
  folder: string,
  options: AuditOptions,
): Promise<AuditResult & { readonly panes: PanesAudit | null }> {
  const pipeline = await loadPipeline(folder)
  const { settings, kafka, registry } = commandConnections(process.env)
  const clickhouse = createClickHouse(clickHouseConfig(settings, QUERY_TIMEOUT_MS))
  const logs = logConnections(settings)
  const admin = await startKafkaAdmin(kafka)
  try {
    const deps = { pipeline, admin: admin.value, registry, clickhouse, now: systemClock.now(), ...logs }
    const result = await runAudit(deps, options)
    // without ClickHouse nothing is known of them
    if (result.problems.length > 0) return { ...result, panes: null }
    const { auditPanes } = await loadStageModule<PanesModule>('sinks/commands/audit-panes')
    const panes = await auditPanes(clickhouse, pipeline.name)
    return { ...result, verdict: (panes?.faults.length ?? 0) > 0 ? 'violated' : result.verdict, panes }
  } finally {
    await Promise.allSettled([admin.stop(), clickhouse.close(), logs.connections.close()])
  }
}

/** As sinks/commands/audit-panes.ts answers. */
interface PanesAudit {
  readonly profile: string
  readonly panes: number
  readonly predictions: number
  readonly faults: readonly { readonly pane: number; readonly predictions: number; readonly counted: number }[]
}

interface PanesModule {
  auditPanes(clickhouse: ClickHouseClient, pipeline: string): Promise<PanesAudit | null>
}

function paneLines(audit: PanesAudit | null, examples: number): readonly string[] {
  if (audit === null) return []
  const { profile, panes, predictions, faults } = audit
  return [
    `  ${'panes'.padEnd(14)}${panes} of profile ${profile}: ${predictions} predictions, ${faults.length === 0 ? 'each counted once' : 'not each counted once'}`,
    ...faults.slice(0, examples).map(({ pane, counted, ...fault }) => {
      const at = new Date(pane).toISOString()
      return `  ${'WRONG'.padEnd(14)}pane ${at} has counted ${counted} of ${fault.predictions} predictions`
    }),
  ]
}

/** Epoch ms of a time as ISO 8601 writes it. */
export function time(text: string): number {
  const ms = /^\d{4}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(ms)) throw new InvalidArgumentError('must be a time like 2026-01-31T12:00Z.')
  return ms
}
