import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import type { Clock } from '../../../infra/runtime/clock.ts'
import type { Alert } from '../../../schemas/generated/records.ts'
import type { CompiledMonitor } from '../../../schemas/pipeline/monitor.ts'
import type { DriftPart, DriftRound } from '../drift-part.ts'
import type { AlertLog, RuleStates } from './alert-log.ts'
import { alertOf } from './alert-record.ts'
import { changesOf, type JudgedWindow, NEVER_FIRED, type RuleChange } from './alert-state.ts'
import { judgedWindowsSql, type RuleScope, scoresMarkSql } from './rule-sql.ts'

export interface AlertsDeps {
  readonly pipeline: string
  readonly monitor: Pick<CompiledMonitor, 'rules' | 'windowMs' | 'consecutive'>
  readonly clickhouse: Pick<ClickHouseClient, 'rows'>
  readonly log: AlertLog
  readonly clock: Pick<Clock, 'now'>
  readonly instruments: {
    /** State of a rule, after each round. */
    stands(rule: { readonly rule: string; readonly severity: string }, firing: boolean): void
    wrote(alert: Alert): void
  }
}

/** Windows that a round looks back at, at most. */
const LOOK_BACK_WINDOWS = 500

/** Judges the closed windows by the pipeline's rules, and writes what has changed: each change once. */
export function createAlerts(deps: AlertsDeps): DriftPart {
  const { pipeline, monitor, clickhouse, log, instruments } = deps
  let states: RuleStates | null = null
  /** Of the scores that were judged last. */
  let judged: string | null = null

  async function changes(scope: RuleScope, known: RuleStates, seenUntil: number): Promise<readonly RuleChange[]> {
    const state = known.get(scope.rule.name) ?? NEVER_FIRED
    const after = Math.max(0, state.until, seenUntil - LOOK_BACK_WINDOWS * monitor.windowMs)
    const windows = await clickhouse.rows<JudgedWindow>(judgedWindowsSql(scope, after, seenUntil))
    return changesOf(state, windows, monitor.consecutive)
  }

  async function decide(round: DriftRound, known: RuleStates): Promise<readonly Alert[]> {
    const { profile, seenUntil } = round
    if (seenUntil === null) return []
    const alerts: Alert[] = []
    for (const rule of monitor.rules) {
      const scope = { pipeline, rule, profile: profile?.profile ?? null, windowMs: monitor.windowMs }
      for (const change of await changes(scope, known, seenUntil)) {
        alerts.push(await alertOf(clickhouse, scope, change, deps.clock.now()))
      }
    }
    return alerts.sort((one, other) => one.at - other.at)
  }

  return {
    name: 'alerts',
    begin() {
      states = null
      judged = null
    },
    end() {
      // whoever watches now says what fires
      for (const { name, severity } of monitor.rules) instruments.stands({ rule: name, severity }, false)
    },
    async round(round) {
      states ??= await log.states(round.signal)
      const [scores] = await clickhouse.rows<{ mark: string }>(scoresMarkSql(pipeline))
      const mark = `${scores?.mark}/${round.profile?.profile}`
      if (mark !== judged && (await decide(round, states)).length > 0) {
        for (const alert of await log.append((known) => decide(round, known), round.signal)) instruments.wrote(alert)
        states = await log.states(round.signal)
      }
      judged = mark
      for (const { name, severity } of monitor.rules) {
        instruments.stands({ rule: name, severity }, states.get(name)?.state === 'firing')
      }
      return false
    },
  }
}
