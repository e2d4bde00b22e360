import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import type { Alert } from '../../../schemas/generated/records.ts'
import { type RuleChange, silenceEnd } from './alert-state.ts'
import { evidenceSql, type RuleScope } from './rule-sql.ts'

type Evidence = Readonly<Record<string, string | number | boolean>>

/** A change as it is written; its message has the figures that its own query answers. `now`: epoch ms. */
export async function alertOf(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  scope: RuleScope,
  change: RuleChange,
  now: number,
): Promise<Alert> {
  const evidence_sql = evidenceSql(scope, change)
  const rows = await clickhouse.rows<Evidence>(evidence_sql)
  const { rule, pipeline } = scope
  const said = change.state === 'firing' ? firing(scope, change, rows) : resolved(scope, change)
  const silentUntil = silenceEnd(rule.silence, now)
  return {
    pipeline,
    rule: rule.name,
    state: change.state,
    severity: rule.severity,
    message: silentUntil > now ? `${said} (in silence until ${new Date(silentUntil).toISOString()})` : said,
    evidence_sql,
    at: change.windows.at(-1)?.end ?? now,
  }
}

function firing({ rule, pipeline }: RuleScope, { windows, series }: RuleChange, rows: readonly Evidence[]): string {
  const last = rows.at(-1)
  const more = series.length === 1 ? '' : `, and ${series.length - 1} more`
  return `${pipeline}: ${rule.name}: ${last === undefined ? 'restated meanwhile' : figuresOf(rule, last)}${more}, ${inARow(windows)}`
}

function figuresOf({ on }: RuleScope['rule'], row: Evidence): string {
  const value = `${row['metric']} ${shown(row['value'])}`
  const bounds =
    on.kind === 'drift'
      ? `threshold ${shown(on.above ?? row['threshold'])}`
      : [on.below === null ? '' : `at least ${on.below}`, on.above === null ? '' : `at most ${on.above}`]
          .filter((bound) => bound !== '')
          .join(', ')
  const subject = on.kind === 'drift' ? `${row['feature']}: ` : ''
  const where = row['segment'] === '*' ? '' : ` in segment ${row['segment']}`
  return `${subject}${value} (${bounds}, n ${row['n']})${where}, version ${row['model_version']}`
}

function resolved({ rule, pipeline }: RuleScope, { windows }: RuleChange): string {
  return `${pipeline}: ${rule.name}: nothing of it ${inARow(windows)}`
}

function inARow(windows: RuleChange['windows']): string {
  const from = new Date(windows[0]?.start ?? 0).toISOString()
  const to = new Date(windows.at(-1)?.end ?? 0).toISOString()
  return `${windows.length === 1 ? 'in the window' : `in ${windows.length} windows in a row,`} ${from} to ${to}`
}

function shown(value: unknown): string {
  const number = Number(value)
  return Number.isFinite(number) ? String(Number(number.toPrecision(4))) : String(value)
}
