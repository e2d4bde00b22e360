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
