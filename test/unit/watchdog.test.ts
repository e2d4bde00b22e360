import { expect, onTestFinished, test } from 'vitest'
import { startWatchdog } from '../../infra/runtime/lifecycle/watchdog.ts'

function watch(state: { workingForMs: number; stuckForMs: number; waiting: boolean }) {
  const watchdog = startWatchdog({
    name: 'inference',
    hop: {
      workingForMs: () => state.workingForMs,
      source: { stuckSince: () => ({ partition: 3, forMs: state.stuckForMs }) },
    },
    isWaiting: () => state.waiting,
    limitMs: 50,
  })
  onTestFinished(() => watchdog.stop())
  return watchdog.value
}

test('records to work on and no progress end the process, and liveness says so', async () => {
  const { problem, ended } = watch({ workingForMs: 0, stuckForMs: 60, waiting: false })
  await expect(ended).rejects.toMatchObject({ fate: 'crash', code: 'no_progress' })
  expect(problem()).toBe('inference has made no progress for 0 s, partition 3')
})

test('a handler that does not come back ends it, whatever is waited for', async () => {
  const { ended } = watch({ workingForMs: 60, stuckForMs: 0, waiting: true })
  await expect(ended).rejects.toMatchObject({ code: 'no_progress' })
})

test('what waits for a dependency or for an operator is alive', () => {
  expect(watch({ workingForMs: 0, stuckForMs: 60_000, waiting: true }).problem()).toBeNull()
  expect(watch({ workingForMs: 40, stuckForMs: 40, waiting: false }).problem()).toBeNull()
})
