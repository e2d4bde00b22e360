import { integerVariable, optionalTextVariable, optionalUrlVariable } from '../infra/runtime/config.ts'

export const SINKS = {
  maxRows: integerVariable('MILLRACE_SINKS_MAX_ROWS', 'Most rows in one insert', 4_000, { min: 1, max: 500_000 }),
  maxBytes: integerVariable('MILLRACE_SINKS_MAX_BYTES', 'Records of this size do not wait for more', 2_097_152, {
    min: 1_024,
    max: 134_217_728,
  }),
  lingerMs: integerVariable('MILLRACE_SINKS_LINGER_MS', 'How long fewer records wait for more, ms', 250, {
    min: 0,
    max: 60_000,
  }),
  reportLingerMs: integerVariable('MILLRACE_SINKS_REPORT_LINGER_MS', 'The same for stage metrics, ms', 1_000, {
    min: 0,
    max: 60_000,
  }),
  insertTimeoutMs: integerVariable(
    'MILLRACE_SINKS_INSERT_TIMEOUT_MS',
    'An insert without an answer for this long is tried again, ms',
    30_000,
    { min: 100, max: 600_000 },
  ),
  redisTimeoutMs: integerVariable(
    'MILLRACE_SINKS_REDIS_TIMEOUT_MS',
    'Redis counts as down after this long, ms',
    5_000,
    {
      min: 10,
      max: 60_000,
    },
  ),
  tableCheckMs: integerVariable(
    'MILLRACE_TABLE_CHECK_MS',
    'How often a table in Redis is looked after, and its position noted, ms',
    200,
    { min: 10, max: 60_000 },
  ),
  resultsTtlMs: integerVariable(
    'MILLRACE_RESULTS_TTL_MS',
    'How long answers stay in Redis for gateways, ms; 0 = they do not get there, and gateways ask ClickHouse',
    300_000,
    { min: 0, max: 86_400_000 },
  ),
  auditIntervalMs: integerVariable(
    'MILLRACE_AUDIT_INTERVAL_MS',
    'How often what was stored is checked against the events, ms',
    30_000,
    { min: 100, max: 3_600_000 },
  ),
  driftIntervalMs: integerVariable(
    'MILLRACE_DRIFT_INTERVAL_MS',
    'How often drift and quality are brought up to what is stored, ms',
    5_000,
    { min: 50, max: 3_600_000 },
  ),
  webhookUrl: optionalUrlVariable('MILLRACE_WEBHOOK_URL', 'Whom alerts are sent to, by POST; with a secret'),
  webhookSecret: optionalTextVariable('MILLRACE_WEBHOOK_SECRET', 'Key of the signature (HMAC-SHA256) of what is sent'),
} as const
