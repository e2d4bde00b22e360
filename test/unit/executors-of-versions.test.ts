/** The executors of a process: which of them versions share. */
import { expect, onTestFinished, test } from 'vitest'
import { createExecutors } from '../../inference/execution/executors.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { childPid } from '../support/child-pid.ts'
import { rowsOf } from '../support/executor-hosts.ts'
import { versionOf } from '../support/model-version.ts'
import { ORDINARY } from '../support/onnx/hostile-models.ts'

function executorsInTest() {
  const executors = createExecutors({ logger: silentLogger, memoryLimitBytes: 2 ** 32 })
  onTestFinished(() => executors.close())
  return executors
}

test('each version has a child of its own, which is ended with it', async () => {
  const executors = executorsInTest()
  const [old, next] = [executors.child('answers', 'cpu', '1'), executors.child('answers', 'cpu', '2')]
  const manifest = versionOf(ORDINARY)
  // long enough not to be taken for one that hangs
  executors.learn(manifest, { provider: 'cpu', fixedUs: 1e6, rowUs: 0, tail: 1 })
  const first = await old.prepare(manifest)
  process.kill(childPid(), 'SIGSTOP')
  const stopped = first.run(rowsOf([1]))
  const pid = childPid()
  const second = await next.prepare(versionOf(ORDINARY))
  expect([...(await second.run(rowsOf([4]))).outputs]).toEqual([3])
  process.kill(pid, 'SIGCONT')
  expect([...(await stopped).outputs]).toEqual([2])
  await first.retire()
  expect(childPid()).not.toBe(pid)
  expect([...(await second.run(rowsOf([7]))).outputs]).toEqual([4])
  await second.retire()
  expect(childPid).toThrow('there are 0 children')
})

test('the child of a version that is refused is ended', async () => {
  const child = executorsInTest().child('answers', 'cpu', '1')
  const refused = child.prepare({ ...versionOf(ORDINARY), sha256: '0'.repeat(64) })
  await expect(refused).rejects.toMatchObject({ code: 'invalid_model' })
  expect(childPid).toThrow('there are 0 children')
})

test('versions in this process share its executor, one for each provider', () => {
  const executors = executorsInTest()
  expect(executors.inline('cpu')).toBe(executors.inline('cpu'))
  expect(executors.inline('cuda')).toMatchObject({ kind: 'inline', provider: 'cuda' })
})

test('rows of answers and of shadows are replayed apart', () => {
  const executors = executorsInTest()
  expect(executors.quarantine('answers', 'cpu')).toBe(executors.quarantine('answers', 'cpu'))
  expect(executors.quarantine('answers', 'cpu')).not.toBe(executors.quarantine('shadow', 'cpu'))
})
