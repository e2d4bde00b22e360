/**
 * `npm run bench:drift [-- --rounds 5 --features 20 --days 30 --rows 300000]`: what the watch over a pipeline costs ClickHouse and us:
 *
 *   pane        a pane of five minutes over so many predictions, computed from FINAL and replaced: counts and second moments
 *   days        all scores of days of panes of five minutes, by day: read, computed, stored
 *   window      all scores of one window over all of these panes
 *   quality     a pane of quality over the same predictions with a label each, computed from FINAL and replaced
 *   labels      a round of quality after each of these labels was corrected: their panes found, computed, scored
 *
 * Features and the score, four segments and all of them together, 43 counts each. Starts a ClickHouse of its own on a free port. The last
 * line is one JSON object; times are medians in ms: elapsed, and of CPU.
 */
import { spawn } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { clickhouse as component } from '../../infra/local/components/clickhouse.ts'
import { freePorts } from '../../infra/local/ports.ts'
import { type ClickHouseClient, createClickHouse } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { migrate, readMigrations } from '../../schemas/clickhouse/migrate.ts'
import type { NumericProfile, ReferenceProfile } from '../../schemas/control/profiles.ts'
import { DEFAULT_MONITOR } from '../../schemas/pipeline/monitor.ts'
import { replacePanes } from '../../sinks/drift/panes/replace-panes.ts'
import { serverTime } from '../../sinks/drift/panes/server-time.ts'
import { replacePerformancePanes } from '../../sinks/drift/quality/performance-panes.ts'
import { createQuality } from '../../sinks/drift/quality/quality.ts'
import { createWindowScorer } from '../../sinks/drift/scores/score-windows.ts'
import { storeScores } from '../../sinks/drift/scores/store-scores.ts'
import { eventually } from '../support/eventually.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    features: { type: 'string', default: '20' },
    days: { type: 'string', default: '30' },
    rows: { type: 'string', default: '300000' },
  },
})
const [rounds, features, days, rows] = [values.rounds, values.features, values.days, values.rows].map(Number) as [
  number,
  number,
  number,
  number,
]
const PANE_MS = 300_000
const DAY_MS = 86_400_000
const START = Date.UTC(2026, 0, 5)
const BINS = 40
const SEGMENTS = ['AMS', 'BER', 'CDG', 'DUB']
const REFERENCE_ROWS = 1_000_000
const SELF = { pipeline: 'bench', profile: 'reference' }

/** Of standard normal features: bins from -2.6 to 2.6. */
function profile(): ReferenceProfile {
  const shares = Array.from({ length: BINS + 2 }, (_, bin) => Math.exp(-(((bin - (BINS + 1) / 2) * 0.13) ** 2) / 2))
  const sum = shares.reduce((total, share) => total + share, 0)
  const counts = (of: number): number[] => [...shares.map((share) => Math.round((share / sum) * of)), 0]
  const subject = (position: number): NumericProfile => ({
    ...{ kind: 'numeric', name: position < 0 ? 'score' : `f${position}`, subject: position < 0 ? 'score' : 'feature' },
    ...{
      position,
      mean: 0,
      std: 1,
      min: -5,
      max: 5,
      lo: -2.6,
      width: 0.13,
      bins: BINS,
      counts: counts(REFERENCE_ROWS),
    },
  })
  const positions = Array.from({ length: features }, (_, position) => position)
  const products = positions.flatMap((i) => positions.slice(i).map((j) => (i === j ? 1 : 0.3 / (1 + j - i))))
  const subjects = [...positions, -1].map(subject)
  return {
    ...{ model: 'bench', featureSet: 'set-1', rows: REFERENCE_ROWS, subjects, calibration: null },
    source: { kind: 'file', name: 'none', sha256: 'none' },
    moments: { rows: REFERENCE_ROWS, positions, products },
    segments: SEGMENTS.map((segment) => ({
      ...{ segment, rows: REFERENCE_ROWS / 4, counts: subjects.map(() => counts(REFERENCE_ROWS / 4)), products },
    })),
  }
}

/** Predictions in a pane, behind as many in the two hours before it. */
async function fillPredictions(clickhouse: ClickHouseClient): Promise<void> {
  const at = `(${START} - if(number < ${rows}, 0, 300000 + rand(1) % 7000000) + rand(2) % ${PANE_MS})`
  await clickhouse.command(
    `INSERT INTO predictions (pipeline, tenant, segment, event_id, event_time, ingested_at, origin_generation, origin_offset,
       feature_set, features, model, model_version, role, score, answer, written_at, kafka_generation, kafka_partition, kafka_offset)
     SELECT 'bench', 'main', [${SEGMENTS.map((name) => `'${name}'`).join(', ')}][1 + rand(3) % 4], toString(generateUUIDv4()),
       fromUnixTimestamp64Milli(toInt64(${at}), 'UTC'), fromUnixTimestamp64Milli(toInt64(${START}), 'UTC'), 'events', number, 'set-1',
       [${Array.from({ length: features }, (_, at) => `toFloat32(randNormal(0, 1, ${at}))`).join(', ')}], 'bench', '1', 'primary',
       toFloat32(1 / (1 + exp(randNormal(0, 1, 99)))), 'scored', now64(3), 'predictions', number % 4, intDiv(number, 4) FROM numbers(${2 * rows})`,
  )
}

/** A label for each prediction of the pane, within a week; those of another pass correct those before. Answers how many. */
async function fillLabels(clickhouse: ClickHouseClient, pass: number): Promise<number> {
  await clickhouse.command(
    `INSERT INTO labels (pipeline, tenant, event_id, kind, value, label_time, written_at, kafka_generation, kafka_partition, kafka_offset)
     SELECT 'bench', 'main', event_id, 'boolean', rand(${pass}) % 2, event_time + toIntervalMillisecond(rand(5) % ${7 * DAY_MS}),
       now64(3) + ${pass}, 'labels', kafka_partition, kafka_offset + ${pass * rows}
     FROM predictions FINAL WHERE event_time >= fromUnixTimestamp64Milli(toInt64(${START}), 'UTC')`,
  )
  const [{ n = 0 } = {}] = await clickhouse.rows<{ n: number }>('SELECT toFloat64(count()) AS n FROM labels FINAL')
  return n
}

/** Panes as `replacePanes` would have them: small counts that differ. */
async function fillPanes(clickhouse: ClickHouseClient): Promise<number> {
  const panes = (days * DAY_MS) / PANE_MS
  const segments = `['*', ${SEGMENTS.map((name) => `'${name}'`).join(', ')}]`
  const pane = `toDateTime(${START / 1_000} + intDiv(number, 5) % ${panes} * 300, 'UTC') AS pane`
  const own = `'bench', 'reference', '1', 'primary'`
  const bin = `toUInt64(if(b = ${BINS + 2}, 0, rand64(b) % 40 * exp(-pow((b - ${(BINS + 1) / 2}) * 0.13, 2) / 2)))`
  for (let position = -1; position < features; position++) {
    await clickhouse.command(
      `INSERT INTO feature_panes (pipeline, profile, model_version, role, subject, position, feature, segment, pane_seconds, pane, n, counts, computed_at)
       SELECT ${own}, '${position < 0 ? 'score' : 'feature'}', ${position}, '${position < 0 ? 'score' : `f${position}`}', ${segments}[1 + number % 5], 300, ${pane},
         arraySum(counts), arrayMap(b -> ${bin}, range(${BINS + 3})) AS counts, now64(3) FROM numbers(${5 * panes})`,
    )
  }
  const products = Array.from({ length: features }, (_, i) =>
    Array.from({ length: features - i }, (_, j) => `randNormal(${j === 0 ? 500 : 60}, 20, ${i * features + j})`),
  ).flat()
  await clickhouse.command(
    `INSERT INTO moment_panes (pipeline, profile, model_version, role, segment, pane_seconds, pane, n, products, computed_at)
     SELECT ${own}, ${segments}[1 + number % 5], 300, ${pane}, 500, [${products.join(', ')}], now64(3) FROM numbers(${5 * panes})`,
  )
  for (const table of ['feature_panes', 'moment_panes']) await clickhouse.command(`OPTIMIZE TABLE ${table} FINAL`)
  return (features + 1) * 5 * panes
}

interface Cost {
  readonly ms: number
  /** CPU in ClickHouse and in this process. */
  readonly engineMs: number
  readonly ownMs: number
}

/** Medians of the rounds. */
async function costOf(
  server: number,
  work: () => Promise<void>,
  before: (round: number) => Promise<unknown> = async () => {},
): Promise<Cost> {
  const costs: Cost[] = []
  for (let round = 0; round < rounds; round++) {
    await before(round)
    const began = { ms: performance.now(), engine: cpuMsOf(server), own: process.cpuUsage() }
    await work()
    const { user, system } = process.cpuUsage(began.own)
    costs.push({
      ms: performance.now() - began.ms,
      engineMs: cpuMsOf(server) - began.engine,
      ownMs: (user + system) / 1_000,
    })
  }
  const median = (of: (cost: Cost) => number): number =>
    Math.round(costs.map(of).sort((a, b) => a - b)[Math.floor(rounds / 2)] ?? Number.NaN)
  return {
    ms: median(({ ms }) => ms),
    engineMs: median(({ engineMs }) => engineMs),
    ownMs: median(({ ownMs }) => ownMs),
  }
}

/** User and system time, in ticks of 10 ms. */
function cpuMsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) * 10
}

async function bench(clickhouse: ClickHouseClient, server: number) {
  await migrate(clickhouse, readMigrations(), Date.now)
  const content = profile()
  const of = { ...SELF, paneMs: PANE_MS, windowMs: DAY_MS, content }
  await fillPredictions(clickhouse)
  const [{ n = 0 } = {}] = await clickhouse.rows<{ n: number }>(
    `SELECT toFloat64(count()) AS n FROM predictions FINAL WHERE event_time >= fromUnixTimestamp64Milli(toInt64(${START}), 'UTC')`,
  )
  const pane = await costOf(server, async () => replacePanes(clickhouse, of, [START], await serverTime(clickhouse)))
  print(`a pane over ${n} predictions: ${said(pane)}`)
  const quality = await benchQuality(clickhouse, server, n)
  await clickhouse.command('TRUNCATE TABLE feature_panes')
  await clickhouse.command('TRUNCATE TABLE moment_panes')
  const paneRows = await fillPanes(clickhouse)
  const scorer = createWindowScorer(content, 500)
  const all = Array.from({ length: days }, (_, day) => ({ start: START + day * DAY_MS, closed: true }))
  let scores = 0
  const byDay = await costOf(server, async () => {
    scores = await storeScores(clickhouse, of, scorer, all)
  })
  print(`${scores} scores of ${days} days from ${paneRows} panes: ${said(byDay)}`)
  // windows are counted from 1970: this one is the one that holds all of the days
  const whole = { ...of, windowMs: 400 * DAY_MS }
  const start = Math.floor(START / whole.windowMs) * whole.windowMs
  let ofWhole = 0
  const window = await costOf(server, async () => {
    ofWhole = await storeScores(clickhouse, whole, scorer, [{ start, closed: true }])
  })
  print(`${ofWhole} scores of one window over the same panes: ${said(window)}`)
  return {
    pane_rows: n,
    pane_ms: pane,
    ...quality,
    panes: paneRows,
    scores,
    days_ms: byDay,
    window_scores: ofWhole,
    window_ms: window,
  }
}

async function benchQuality(clickhouse: ClickHouseClient, server: number, predictions: number) {
  const monitor = { ...DEFAULT_MONITOR, paneMs: PANE_MS, minRows: 500 }
  const settings = { pipeline: 'bench', paneMs: PANE_MS, threshold: monitor.threshold }
  const labels = await fillLabels(clickhouse, 0)
  const portion = { panes: [START], rows: predictions }
  const pane = await costOf(server, async () => replacePerformancePanes(clickhouse, settings, portion))
  print(`a pane of quality over ${predictions} predictions and ${labels} labels: ${said(pane)}`)
  const watch = createQuality({
    ...{ pipeline: 'bench', monitor, clickhouse, clock: { monotonic: () => performance.now() } },
    maxRecords: 2 * rows,
  })
  const { signal } = new AbortController()
  const round = async (): Promise<void> => {
    if (await watch.round({ profile: null, seenUntil: START + PANE_MS, signal })) throw new Error('there is more to do')
  }
  await round()
  const late = await costOf(server, round, (pass) => fillLabels(clickhouse, pass + 1))
  print(`a round of quality over ${labels} corrected labels: ${said(late)}`)
  return { quality_predictions: predictions, quality_labels: labels, quality_pane_ms: pane, quality_round_ms: late }
}

function said({ ms, engineMs, ownMs }: Cost): string {
  return `${ms} ms, ${engineMs} ms of CPU in ClickHouse and ${ownMs} ms in this process`
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

const home = await mkdtemp(path.join(tmpdir(), 'millrace-bench-drift-'))
const [port = 0] = await freePorts(1)
const settings = {
  ...{ home, dataDir: home, logDir: home, external: {} },
  ports: { kafka: 0, 'kafka-controller': 0, registry: 0, redis: 0, clickhouse: port },
}
const { command, args, env } = await component.prepare(settings)
const server = spawn(command, args, { stdio: 'ignore', env: { ...process.env, ...env } })
const clickhouse = createClickHouse({
  ...{ url: component.address(settings), user: 'default', database: 'default' },
  ...{ requestTimeoutMs: 300_000, maxConnections: 4 },
})
try {
  await eventually(() => clickhouse.ping(), { deadlineMs: 30_000 })
  const figures = await bench(clickhouse, server.pid ?? 0)
  print(
    JSON.stringify({
      bench: 'drift',
      node: process.version,
      features,
      days,
      segments: SEGMENTS.length,
      rounds,
      ...figures,
    }),
  )
} finally {
  await clickhouse.close()
  server.kill()
  rmSync(home, { recursive: true, force: true })
}
