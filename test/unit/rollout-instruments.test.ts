/** What a process says of a rollout: a stalled one is a warning, and a metric until something else is said. */
import { expect, test } from 'vitest'
import { createRolloutInstruments } from '../../inference/rollout/instruments.ts'
import { nextRollout, type RolloutRequest } from '../../inference/rollout/rollout-state.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { createMetrics } from '../../infra/runtime/telemetry/metrics.ts'
import type { RolloutEntry } from '../../schemas/control/models.ts'

const PLAN = { production: '1', candidate: null, shadow: null, guards: null }
const PROPOSE: RolloutRequest = { to: 'propose', plan: PLAN, now: 0, deadline: 1 }

function after(...requests: readonly RolloutRequest[]): RolloutEntry {
  let entry: RolloutEntry | null = null
  for (const request of requests) {
    const next = nextRollout(entry, request)
    if (!next.ok) throw new Error(next.message)
    entry = next.entry
  }
  return entry as RolloutEntry
}

function inTest() {
  const metrics = createMetrics({})
  const said: unknown[] = []
  const say =
    (level: string) =>
    ({ code }: { readonly code?: string }, message: string) =>
      void said.push([level, code ?? message])
  const logger = { ...silentLogger, info: say('info'), warn: say('warn') }
  const value = async () => /^millrace_rollout_stalled\{model="m"\} (\d)$/m.exec((await metrics.expose()).text)?.[1]
  return { instruments: createRolloutInstruments(metrics, logger, 'm'), said, value }
}

test('a rollout that stalls is a warning, and a metric until the next plan', async () => {
  const { instruments, said, value } = inTest()
  instruments.began(null)
  expect(await value()).toBe('0')
  instruments.changed(after(PROPOSE))
  instruments.changed(after(PROPOSE, { to: 'stall', epoch: 1, evidence: { members: 2 } }))
  expect(await value()).toBe('1')
  instruments.changed(after(PROPOSE, { to: 'stall', epoch: 1, evidence: {} }, PROPOSE))
  expect(await value()).toBe('0')
  expect(said).toEqual([
    ['info', 'rollout changed'],
    ['warn', 'rollout_stalled'],
    ['info', 'rollout changed'],
  ])
})

test('a process that begins after a stall shows it, and does not say it again', async () => {
  const { instruments, said, value } = inTest()
  instruments.began(after(PROPOSE, { to: 'stall', epoch: 1, evidence: {} }))
  expect([await value(), said]).toEqual(['1', []])
})
