import path from 'node:path'
import { expect, inject, onTestFinished, test } from 'vitest'
import { createSupervisor } from '../../infra/local/supervisor.ts'
import type { KillPoint } from '../../infra/runtime/kill-points/kill-points.ts'
import { eventually } from '../support/eventually.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { runPipeline } from '../support/running-pipeline.ts'
import { createStageDriver } from '../support/stage-driver.ts'

// Sinks die between the steps of a sealed batch, one process after the other, on a real broker and a real ClickHouse.

const POINTS: readonly KillPoint[] = [
  'sealed-not-inserted',
  'inserted-unanswered',
  'before-commit',
  'after-commit',
  'inserted-unanswered',
  'sealed-not-inserted',
]
const DEADLINE_MS = 300_000

test('killed at each step of a chunk: every label is one row, physically', { timeout: 2 * DEADLINE_MS }, async () => {
  const { env } = inject('stack')
  const { folder } = copyPipeline(FLIGHTS)
  const run = await runPipeline(folder, env, { start: false })
  const replay = run.replay({ limit: 3_000, rate: 'max' })

  const supervisor = createSupervisor()
  onTestFinished(() => supervisor.stop())
  const driver = createStageDriver({
    supervisor,
    env: { ...env, MILLRACE_ALLOW_SINGLE_REPLICA: 'true', MILLRACE_SINKS_MAX_ROWS: '40' },
    pipelineFolder: folder,
    logDir: path.join('.millrace/test-logs', run.pipeline.name),
  })
  for (const [turn, point] of POINTS.entries()) {
    const sinks = driver.start('sinks', { point, nth: 2 + turn, signal: 'KILL' })
    expect(await sinks.exited, sinks.lastError ?? '').toBeNull()
    expect(sinks.reached).toBe(true)
  }
  const sinks = driver.start('sinks')
  expect(await replay.exited).toBe(0)
  await eventually(async () => expect((await run.account()).labelsMissing).toBe(0), { deadlineMs: DEADLINE_MS })
  await sinks.stop()
  const [counts] = await run.clickhouse.rows<{ n: string; distinct: string }>(
    `SELECT count() AS n, uniqExact(kafka_generation, kafka_partition, kafka_offset) AS distinct
     FROM labels WHERE pipeline = {pipeline:String}`,
    { pipeline: run.pipeline.name },
  )
  expect(Number(counts?.n)).toBeGreaterThan(2_000)
  expect(counts?.n).toBe(counts?.distinct)
})
