import { type AuditTotals, totalsOf } from '../../infra/cli/audit/report.ts'
import { runAudit } from '../../infra/cli/audit/run-audit.ts'
import { commandConnections, logConnections } from '../../infra/cli/connections.ts'
import type { RunningPipeline } from './running-pipeline.ts'

/** What `millrace audit` says of everything that the pipeline's topics hold. */
export async function auditOf(
  run: RunningPipeline,
  env: Readonly<Record<string, string>>,
): Promise<{ readonly verdict: string; readonly problems: readonly string[]; readonly totals: AuditTotals }> {
  const { pipeline, admin, clickhouse } = run
  const { registry, settings } = commandConnections({ ...process.env, ...env })
  const { connections, reader } = logConnections(settings)
  try {
    const deps = { pipeline, connections, admin, reader, registry, clickhouse, now: Date.now() }
    const { verdict, problems, lanes } = await runAudit(deps, { window: { from: null, to: null }, maxExamples: 5 })
    return { verdict, problems, totals: totalsOf(lanes) }
  } finally {
    await connections.close()
  }
}
