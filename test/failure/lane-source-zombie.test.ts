import { expect, inject, test } from 'vitest'
import { CONNECTIONS, readConfig } from '../../infra/runtime/config.ts'
import { eventually } from '../support/eventually.ts'
import { consume, handOuts, testTopic } from '../support/lane-consumers.ts'
import { spawnNode } from '../support/spawn-process.ts'

const PARTITIONS = 4
const DEADLINE = { deadlineMs: 60_000 }

test('a process that was stopped for longer than its session hands out nothing before it has heard of its fate', {
  timeout: 300_000,
}, async () => {
  const brokers = readConfig(CONNECTIONS, inject('stack').env).kafkaBrokers
  const { group, topic, fill } = await testTopic(brokers, { partitions: PARTITIONS })
  // more than it takes out at once, so that batches wait in its queues all the time
  for (let round = 0; round < 10; round++) await fill(2_000)
  const child = spawnNode(['test/support/lane-source-process.ts', brokers.join(','), group, topic])
  await eventually(() => expect(child.output().match(/^batch/gm)?.length).toBeGreaterThan(50), DEADLINE)
  child.kill('SIGSTOP')

  const ledger = handOuts()
  const heir = await consume('heir', ledger, { brokers, group, topic, sessionTimeoutMs: 2_000 })
  await eventually(() => expect(heir.source.positions().size).toBe(PARTITIONS), DEADLINE)
  await eventually(() => expect(ledger.count).toBeGreaterThan(1_000), DEADLINE)
  const before = child.output().length
  const continuedAt = process.hrtime.bigint()
  child.kill('SIGCONT')
  await eventually(() => expect(child.output().slice(before)).toContain('lost'), DEADLINE)
  const heard = child
    .output()
    .slice(before)
    .split('\n')
    // it may have been stopped in the middle of what it had decided before
    .filter((line) => line === 'stalled' || line === 'lost' || handedOutAt(line) > continuedAt)
  expect(heard.slice(0, 2)).toEqual(['stalled', 'lost'])
  child.kill('SIGTERM')
  expect(await child.exited).toBe(0)
})

/** See lane-source-process.ts; 0 = the line says something else. */
function handedOutAt(line: string): bigint {
  const [, at = '0'] = /^batch \d+ \d+ (\d+)$/.exec(line) ?? []
  return BigInt(at)
}
