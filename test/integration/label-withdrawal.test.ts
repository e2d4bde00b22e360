import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, inject, onTestFinished, test } from 'vitest'
import { exportTrainingSet } from '../../sinks/commands/export.ts'
import { auditOf } from '../support/audit-of.ts'
import { eventually } from '../support/eventually.ts'
import { startTestGateway } from '../support/gateway.ts'
import { flightEvent } from '../support/gateway-events.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { runPipeline } from '../support/running-pipeline.ts'

// A label that is taken back, from the gateway to whatever is made of labels: the table, the views, quality, a training set, the audit.

const env = { ...inject('stack').env, MILLRACE_DRIFT_INTERVAL_MS: '200' }
const DEADLINE = { deadlineMs: 120_000 }
const IDS = ['kept', 'withdrawn', 'said-again', 'never']
const ARRIVED = Date.UTC(2013, 0, 1, 12)

const withNull = (source: string): string =>
  source.replace('(label) => label.arr_delay > 15', '(label) => label.arr_delay === null ? null : label.arr_delay > 15')

test('a label without a truth withdraws the one before it, and a later one wins', { timeout: 600_000 }, async () => {
  const { name, folder } = copyPipeline(FLIGHTS, withNull)
  const schemaFile = path.join(folder, 'label.avsc')
  const nullable = readFileSync(schemaFile, 'utf8').replace('"type": "int"', '"type": ["null", "int"]')
  writeFileSync(schemaFile, nullable)
  const run = await runPipeline(folder, env, { start: false })
  expect(run.pipeline.label?.withdrawable).toBe(true)
  const gateway = await startTestGateway(folder, env)
  const key = await gateway.key()
  for (const stage of ['processors', 'inference', 'sinks'] as const) run.startStage(stage)
  const send = async (what: 'events' | 'labels', body: unknown): Promise<number> => {
    const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
    const url = `${gateway.url}/v1/pipelines/${name}/${what}`
    return (await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })).status
  }
  const label = (id: string, delay: number | null) => ({ event_id: id, arr_delay: delay, arrived_at: ARRIVED })
  /** What each reader of labels says is known. */
  const known = async () => {
    const view = await run.clickhouse.rows<{ event_id: string; value: number }>(
      `SELECT event_id, label_value AS value FROM ${name.replaceAll('-', '_')}_quality ORDER BY event_id`,
    )
    const [coverage] = await run.clickhouse.rows<{ n: number; labels: number }>(
      `SELECT toFloat64(n) AS n, toFloat64(labels) AS labels FROM quality_scores FINAL
       WHERE pipeline = {name:String} AND metric = 'coverage' AND segment = '*' AND known_after_hours = 65535`,
      { name },
    )
    return { view: view.map(({ event_id, value }) => [event_id, value]), coverage }
  }
  const knows = (view: readonly (readonly [string, number])[]) =>
    eventually(
      async () => expect(await known()).toEqual({ view, coverage: { n: IDS.length, labels: view.length } }),
      DEADLINE,
    )
  const labelled = async (): Promise<number> => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'millrace-withdrawal-'))
    onTestFinished(() => rmSync(directory, { recursive: true }))
    const window = { from: Date.UTC(2013, 0, 1), to: Date.UTC(2013, 0, 8), knownAt: Date.now(), labelled: true }
    const { rows } = await exportTrainingSet(
      { ...window, folder, out: path.join(directory, 'set.parquet') },
      { ...process.env, ...env },
    )
    return rows
  }

  expect(await send('events', IDS.map(flightEvent))).toBe(202)
  expect(await send('labels', [label('kept', 30), label('withdrawn', 30), label('said-again', 30)])).toBe(202)
  await knows([
    ['kept', 1],
    ['said-again', 1],
    ['withdrawn', 1],
  ])
  expect(await labelled()).toBe(3)

  // of an event that has no label there is nothing to withdraw, and that is no fault
  expect(await send('labels', [label('withdrawn', null), label('said-again', null), label('never', null)])).toBe(202)
  await knows([['kept', 1]])
  expect(await labelled()).toBe(1)
  // what tells nobody anything may be stored last
  await eventually(
    async () =>
      expect(
        await run.clickhouse.rows(
          "SELECT event_id, kind, isNaN(value) AS nan FROM labels FINAL WHERE pipeline = {name:String} AND kind = 'withdrawn' ORDER BY event_id",
          { name },
        ),
      ).toMatchObject([{ event_id: 'never', nan: 1 }, { event_id: 'said-again' }, { event_id: 'withdrawn' }]),
    DEADLINE,
  )

  expect(await send('labels', label('said-again', -3))).toBe(202)
  await knows([
    ['kept', 1],
    ['said-again', 0],
  ])
  expect(await labelled()).toBe(2)

  // each of the seven labels is accounted for, those that gave way included
  expect(await auditOf(run, env)).toMatchObject({ verdict: 'exact', totals: { labels: { records: 7, unstored: 0 } } })
  await run.clickhouse.command('OPTIMIZE TABLE labels FINAL')
  await eventually(
    async () =>
      expect(await auditOf(run, env)).toMatchObject({
        verdict: 'exact',
        totals: { labels: { records: 7, stored: 4, superseded: 3, unstored: 0, inFlight: 0 } },
      }),
    DEADLINE,
  )
})
