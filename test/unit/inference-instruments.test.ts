/** What inference exports of the executors and batches of its versions. */
import { expect, onTestFinished, test } from 'vitest'
import { createExecutors } from '../../inference/execution/executors.ts'
import { createInstruments } from '../../inference/instruments.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { createMetrics } from '../../infra/runtime/telemetry/metrics.ts'
import { childPid } from '../support/child-pid.ts'
import { eventually } from '../support/eventually.ts'
import { rowsOf } from '../support/executor-hosts.ts'
import { versionOf } from '../support/model-version.ts'
import { ORDINARY } from '../support/onnx/hostile-models.ts'

function instrumentsInTest() {
  const metrics = createMetrics({})
  const lines = async (name: string) =>
    (await metrics.expose()).text
      .split('\n')
      .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
  return { instruments: createInstruments(metrics), lines }
}

test('a child that has to be started anew is counted, by whose it is and what ended it', async () => {
  const { instruments, lines } = instrumentsInTest()
  const executors = createExecutors({ logger: silentLogger, memoryLimitBytes: 2 ** 32, observer: instruments })
  onTestFinished(() => executors.close())
  const model = await executors.child('shadow', 'cpu', '7').prepare(versionOf(ORDINARY))
  process.kill(childPid(), 'SIGKILL')
  const killed =
    'millrace_executor_restarts_total{executor="process",purpose="shadow",provider="cpu",version="7",cause="killed"} 1'
  await eventually(async () => expect(await lines('millrace_executor_restarts_total')).toEqual([killed]), {
    deadlineMs: 30_000,
  })
  expect([...(await model.run(rowsOf([1]))).outputs]).toEqual([2])
})

test('batches of a shadow are counted apart, and are none of what the stage reports of itself', async () => {
  const { instruments, lines } = instrumentsInTest()
  const manifest = versionOf(ORDINARY)
  const batch = { reason: 'full', rows: 8, cap: 8, waitedMs: 1, runMs: 1 } as const
  instruments.released(manifest, batch, 'answers')
  instruments.released(manifest, { ...batch, rows: 2, waitedMs: 900 }, 'shadow')
  instruments.released(manifest, { ...batch, reason: 'drained', rows: 4 }, 'answers')
  instruments.looked(manifest, 5, 3, 0, 'shadow')
  const { name, version } = manifest
  const of = (purpose: string) => `model="${name}",version="${version}",purpose="${purpose}"`
  expect(await lines('millrace_micro_batches_total')).toEqual([
    `millrace_micro_batches_total{${of('answers')},reason="full"} 1`,
    `millrace_micro_batches_total{${of('shadow')},reason="full"} 1`,
    `millrace_micro_batches_total{${of('answers')},reason="drained"} 1`,
  ])
  expect(await lines('millrace_batch_rows_sum')).toEqual([
    `millrace_batch_rows_sum{${of('answers')}} 12`,
    `millrace_batch_rows_sum{${of('shadow')}} 2`,
  ])
  expect((await lines('millrace_cache_rows_total'))[0]).toBe(
    `millrace_cache_rows_total{${of('shadow')},result="hit"} 3`,
  )
  expect(instruments.takeFacts()).toEqual({
    ...{ released_full: 1, released_drained: 1, released_deadline: 0, released_linger: 0 },
    ...{ longest_wait_ms: 1, mean_fill: 0.75 },
  })
})
