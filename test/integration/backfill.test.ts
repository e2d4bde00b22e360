import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, inject, onTestFinished, test } from 'vitest'
import { score } from '../../inference/commands/score.ts'
import { type ClickHouseClient, createClickHouse } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { CONNECTIONS, clickHouseConfig, readConfig } from '../../infra/runtime/config.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { eventually } from '../support/eventually.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { writeRawRecords } from '../support/raw-records.ts'
import { runPipeline } from '../support/running-pipeline.ts'
import { addVersion } from '../support/scoring.ts'
import { addShifted } from '../support/shifted-model.ts'
import { spawnNode } from '../support/spawn-process.ts'
import { uniqueName } from '../support/unique-name.ts'

const DAY_MS = 86_400_000
const FROM = Date.UTC(2013, 3, 1)
const TO = Date.UTC(2013, 3, 3)
const ROWS = 12_000
const EVENTS = 3_000
const DEADLINE = { deadlineMs: 120_000 }
const WINDOW = ['--from', '2013-04-01', '--to', '2013-04-03']

interface History {
  readonly name: string
  readonly folder: string
  readonly model: string
  readonly clickhouse: ClickHouseClient
  start(...args: readonly string[]): ReturnType<typeof spawnNode>
  millrace(...args: readonly string[]): Promise<string>
}

/** A pipeline whose version 1 has served two days on two partitions; every second event has a label that agrees with it, the others' were withdrawn. */
async function servedHistory(): Promise<History> {
  const scratch = mkdtempSync(path.join(tmpdir(), 'millrace-backfill-'))
  onTestFinished(() => rmSync(scratch, { recursive: true, force: true }))
  const model = uniqueName('model')
  const { name, folder } = copyPipeline(FLIGHTS, (text) =>
    text.replace("model: { name: 'flight-delay'", `model: { name: '${model}'`),
  )
  const rename = (manifest: Record<string, unknown>): void => {
    manifest['name'] = model
  }
  const bundled = addVersion(path.join(folder, 'models'), '1', { edit: rename })
  const env = {
    ...inject('stack').env,
    MILLRACE_MODEL_STORE: path.join(scratch, 'store'),
    MILLRACE_MODEL_CACHE: path.join(scratch, 'cache'),
  }
  const start: History['start'] = (...args) => spawnNode(['infra/cli/main.ts', ...args], { env })
  const millrace: History['millrace'] = async (...args) => {
    const child = start(...args)
    expect([await child.exited, child.output()]).toEqual([0, expect.any(String)])
    return child.output()
  }
  await millrace('topics', folder, '--partitions', '2', '--allow-single-replica')
  await millrace('migrate', folder)
  const clickhouse = createClickHouse(clickHouseConfig(readConfig(CONNECTIONS, env), 30_000))
  onTestFinished(() => clickhouse.close())

  const golden = readModelManifest(bundled).golden.map(({ features }) => features)
  const vectors = Array.from({ length: ROWS }, (_, row) =>
    Float32Array.from(golden[row % golden.length] ?? [], (value, column) =>
      value === null ? Number.NaN : value + ((row * (column + 7)) % 5),
    ),
  )
  const scored = await score(folder, vectors)
  const { featureSet } = await loadPipeline(folder)
  const rows = scored.map((result, row) => {
    if (!result.ok) throw new Error(result.message)
    const at = FROM + Math.floor((row * (TO - FROM)) / ROWS)
    return {
      pipeline: name,
      tenant: 'main',
      segment: row % 3 === 0 ? 'JFK' : 'EWR',
      event_id: `event-${row}`,
      event_time: at,
      ingested_at: at,
      origin_generation: 'g',
      origin_offset: Math.floor(row / 2),
      feature_set: featureSet.digest,
      features: Array.from(vectors[row] ?? []),
      model,
      model_version: '1',
      role: row % 10 === 0 ? 'canary' : 'primary',
      score: result.score,
      outputs: result.outputs,
      label: result.label,
      written_at: at,
      kafka_generation: 'k',
      kafka_partition: row % 2,
      kafka_offset: Math.floor(row / 2),
    }
  })
  const [first] = rows
  if (first === undefined) throw new Error('there are no rows')
  const foreign = [
    { ...first, event_id: 'later', event_time: TO, ingested_at: TO, origin_offset: ROWS },
    { ...first, event_id: 'other features', feature_set: 'other', origin_offset: ROWS + 1 },
    // as a damaged store would have it: the version refuses it
    {
      ...first,
      event_id: 'infinite',
      features: first.features.map(() => Number.POSITIVE_INFINITY),
      origin_offset: ROWS + 900,
    },
  ]
  // each is there twice, as after a redelivery
  for (const batch of [rows, rows, foreign]) await clickhouse.insert('predictions', Object.keys(first), batch)
  const labels = rows.map(({ event_id, score: served }, row) => ({
    pipeline: name,
    tenant: 'main',
    event_id,
    kind: row % 2 === 0 ? 'boolean' : 'withdrawn',
    value: row % 2 !== 0 ? Number.NaN : served > 0.3 ? 1 : 0,
    written_at: FROM + DAY_MS,
  }))
  await clickhouse.insert('labels', Object.keys(labels[0] as object), labels)
  return { name, folder, model, clickhouse, start, millrace }
}

async function contentOf(clickhouse: ClickHouseClient, run: string): Promise<unknown> {
  const [content] = await clickhouse.rows(
    `SELECT count() AS rows, sum(score) AS scores, groupBitXor(cityHash64(tenant, segment, event_id, event_time, origin_generation,
  kafka_partition, origin_offset, degraded, reinterpretAsUInt32(score), outputs, label, problem, model_version)) AS hash
FROM backfill_predictions FINAL WHERE run = {run:String} AND problem = ''`,
    { run },
  )
  return content
}

test('a killed run goes on and ends with the rows of one that was not, and the version that served differs in nothing', {
  timeout: 600_000,
}, async () => {
  const { name, folder, model, clickhouse, start, millrace } = await servedHistory()
  const whole = `${name}-whole`
  const killed = `${name}-killed`
  const backfill = ['backfill', folder, '--model', `${model}/1`, ...WINDOW]
  const done = await millrace(...backfill, '--run', whole)
  expect(done).toContain(`scored      ${ROWS + 1} rows now, 1 of them without an answer\n`)
  expect(done).toContain('left out    1 predictions of another feature set\n')
  expect(done).toContain(`served by   1 (${ROWS})\n`)
  expect(done).toContain('difference  mean 0.0000, mean absolute 0.0000, 0.00 % above 0.1\n')
  expect(done).toMatch(/quality {5}AUC served 1\.0000, backfill 1\.0000, of 6000 labels\n/)
  expect(
    await clickhouse.rows(
      `SELECT problem FROM backfill_predictions FINAL WHERE pipeline = '${name}' AND problem != ''`,
    ),
  ).toEqual([{ problem: 'non_finite' }])

  // in steps of 500 rows, one a second: the second step is stored when the first one's progress is
  const slow = start(...backfill, '--run', killed, '--rate', '500')
  const rowsOf = async (run: string): Promise<number> => {
    const [row] = await clickhouse.rows<{ n: string }>(
      `SELECT count() AS n FROM backfill_predictions FINAL WHERE run = {run:String}`,
      { run },
    )
    return Number(row?.n)
  }
  await eventually(async () => expect(await rowsOf(killed)).toBeGreaterThan(500), DEADLINE)
  slow.kill('SIGKILL')
  expect(await slow.exited).toBe('SIGKILL')
  const before = await rowsOf(killed)
  expect(before).toBeLessThan(ROWS)
  const resumed = await millrace(...backfill, '--run', killed)
  expect(resumed).toContain(`goes on: run ${killed}`)
  const [, now] = /scored {6}(\d+) rows now/.exec(resumed) ?? []
  expect(Number(now)).toBeLessThan(ROWS)
  expect(Number(now)).toBeGreaterThanOrEqual(ROWS + 1 - before)
  expect(await contentOf(clickhouse, killed)).toEqual(await contentOf(clickhouse, whole))
  expect(await contentOf(clickhouse, whole)).toMatchObject({ rows: String(ROWS) })

  const again = await millrace(...backfill, '--run', killed)
  expect(again).toContain('scored      0 rows now\n')
  // one that began before its rows are kept is neither gone on with nor compared
  await millrace('migrate', folder, '--keep', 'backfill_predictions=30d')
  const old = uniqueName('run')
  await clickhouse.command(
    `INSERT INTO backfill_runs SELECT * REPLACE ('${old}' AS run, started_at - INTERVAL 31 DAY AS started_at)
     FROM (SELECT * FROM backfill_runs FINAL WHERE run = '${killed}')`,
  )
  for (const expired of [start(...backfill, '--run', old), start('backfill', 'report', old)]) {
    expect(await expired.exited).toBe(1)
    expect(expired.output()).toMatch(new RegExp(`run ${old} began on .*, and rows are kept for 30 days`))
  }
  expect(await millrace(...backfill, '--run', killed)).toContain('scored      0 rows now\n')
  expect(await millrace('backfill', 'report', killed)).toContain(`of ${ROWS / 2} labels`)
  await millrace('migrate', folder, '--keep', 'backfill_predictions=forever')

  const other = start(
    'backfill',
    folder,
    '--model',
    `${model}/1`,
    '--from',
    '2013-04-01',
    '--to',
    '2013-04-02',
    '--run',
    killed,
  )
  expect(await other.exited).toBe(1)
  expect(other.output()).toContain(`run ${killed} has another to`)
  const unknown = start('backfill', folder, '--model', `${model}/9`, ...WINDOW)
  expect(await unknown.exited).toBe(1)
  expect(unknown.output()).toContain(`has no version ${model}/9; it has ${model}/1`)
})

test('a registered version that answers higher: waits for the live pipeline, and the report says by how much', {
  timeout: 600_000,
}, async () => {
  const { name, folder, model, clickhouse, start, millrace } = await servedHistory()
  const versions = mkdtempSync(path.join(tmpdir(), 'millrace-backfill-'))
  onTestFinished(() => rmSync(versions, { recursive: true, force: true }))
  await millrace('model', 'push', await addShifted(versions, '2', { model, by: 1.5 }), '--pipeline', folder)

  const records = Array.from({ length: 6 }, () => ({ partition: 0, key: 'k', value: Buffer.from('x') }))
  await writeRawRecords(inject('stack').env, `${name}.events`, records)
  const position = ['positions', folder, 'set', '--stage', 'processors', '--partition', '0', '--to']
  await millrace(...position, '0')
  const waiting = start('backfill', folder, '--model', `${model}/2`, ...WINDOW, '--max-lag', '5')
  await eventually(() => expect(waiting.output()).toContain('waits: processors lags 6 records behind'), DEADLINE)
  expect(await clickhouse.rows(`SELECT run FROM backfill_predictions WHERE pipeline = '${name}'`)).toEqual([])
  await millrace(...position, '1')
  expect([await waiting.exited, waiting.output()]).toEqual([
    0,
    expect.stringContaining(`scored      ${ROWS + 1} rows now`),
  ])

  const run = `${name}-2-2013-04-01-2013-04-03`
  expect(await millrace('backfill', 'report', run)).toContain(
    `scored by   ${model}/2, stored features, events from 2013-04-01`,
  )
  const { difference } = JSON.parse(await millrace('backfill', 'report', run, '--json'))
  const pairs = await clickhouse.rows<{ served: number; backfill: number; truth: number | null }>(
    `SELECT p.score AS served, b.score AS backfill, if(l.kind = 'boolean', l.value, NULL) AS truth
FROM (SELECT * FROM backfill_predictions FINAL WHERE run = '${run}' AND problem = '') AS b
INNER JOIN (SELECT * FROM predictions FINAL WHERE pipeline = '${name}') AS p USING (event_id)
LEFT JOIN (SELECT * FROM labels FINAL WHERE pipeline = '${name}') AS l USING (event_id)`,
  )
  const differences = pairs.map(({ served, backfill }) => backfill - served).sort((a, b) => a - b)
  const { threshold } = (await loadPipeline(folder)).monitor
  const up = pairs.filter(({ served, backfill }) => served < threshold && backfill >= threshold).length
  expect(up).toBeGreaterThan(0)
  expect(difference).toMatchObject({ rows: ROWS + 1, problems: 1, compared: ROWS, flipsUp: up, flipsDown: 0 })
  expect(difference.mean).toBeCloseTo(differences.reduce((sum, value) => sum + value, 0) / ROWS, 6)
  expect(difference.shareLarge).toBeCloseTo(differences.filter((value) => value > 0.1).length / ROWS, 9)
  const median = difference.quantiles.find(({ at }: { at: number }) => at === 0.5).value
  expect(median).toBeCloseTo(differences[ROWS / 2] as number, 6)
  expect(difference.quality).toMatchObject({ metric: 'AUC', labels: ROWS / 2, served: 1 })
  expect(difference.quality.backfill).toBeCloseTo(aucOf(pairs.filter(({ truth }) => truth !== null)), 9)
})

test('events are scored again with the features of now; a killed run goes on', { timeout: 600_000 }, async () => {
  const { env } = inject('stack')
  const { name, folder } = copyPipeline(FLIGHTS)
  const run = await runPipeline(folder, env)
  expect(await run.replay({ limit: EVENTS, rate: 'max' }).exited).toBe(0)
  await run.settled(EVENTS, 180_000)
  await writeRawRecords(env, `${name}.events`, [{ partition: 0, key: 'k', value: Buffer.from('no event') }])

  const command = ['infra/cli/main.ts', 'backfill', folder, '--model', 'flight-delay/1', '--source', 'events']
  const options = [...command, '--from', '2013-01-01', '--to', '2014-01-01', '--run', name]
  const slow = spawnNode([...options, '--rate', '150'], { env })
  const rowsOf = async (): Promise<number> => {
    const sql = `SELECT count() AS n FROM backfill_predictions FINAL WHERE pipeline = '${name}'`
    return Number((await run.clickhouse.rows<{ n: string }>(sql))[0]?.n)
  }
  // the position of a step is committed before the next one is stored
  await eventually(async () => expect(await rowsOf()).toBeGreaterThan(150), DEADLINE)
  slow.kill('SIGKILL')
  expect(await slow.exited).toBe('SIGKILL')
  const before = await rowsOf()
  expect(before).toBeLessThan(EVENTS)

  const resumed = spawnNode(options, { env })
  expect([await resumed.exited, resumed.output()]).toEqual([0, expect.stringContaining('refused     1 events')])
  const [, now] = /scored {6}(\d+) rows now/.exec(resumed.output()) ?? []
  expect(Number(now)).toBeLessThan(EVENTS)
  expect(Number(now)).toBeGreaterThanOrEqual(EVENTS - before)
  // nothing has changed in Redis since: what was served is what would be served
  const [pairs] = await run.clickhouse.rows(
    `SELECT toUInt32(count()) AS n, toUInt32(countIf(b.score = p.score)) AS same, toUInt32(countIf(b.event_id = p.event_id)) AS events
FROM (SELECT * FROM backfill_predictions FINAL WHERE pipeline = '${name}') AS b
INNER JOIN (SELECT * FROM predictions FINAL WHERE pipeline = '${name}') AS p USING (origin_generation, kafka_partition, origin_offset)`,
  )
  expect(pairs).toEqual({ n: EVENTS, same: EVENTS, events: EVENTS })
})

/** By every pair of a positive and a negative. */
function aucOf(pairs: readonly { readonly backfill: number; readonly truth: number | null }[]): number {
  const of = (truth: number) => pairs.filter((pair) => pair.truth === truth).map(({ backfill }) => backfill)
  const [positive, negative] = [of(1), of(0)]
  let wins = 0
  for (const p of positive) for (const n of negative) wins += p > n ? 1 : p === n ? 0.5 : 0
  return wins / (positive.length * negative.length)
}
