import { expect, inject, test } from 'vitest'
import { auditOf } from '../support/audit-of.ts'
import { eventually } from '../support/eventually.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { type RunningPipeline, runPipeline } from '../support/running-pipeline.ts'

const EVENTS = 12_000
const DEADLINE_MS = 240_000

async function predicted(run: RunningPipeline, atLeast: number): Promise<void> {
  await eventually(
    async () => {
      const { predicted: now } = await run.account()
      if (now < atLeast) throw new Error(`${now} of ${atLeast} predictions`)
    },
    { deadlineMs: DEADLINE_MS },
  )
}

test('processors and inference are made one process and two again under load: every event ends once, in order', {
  timeout: 4 * DEADLINE_MS,
}, async () => {
  const { env } = inject('stack')
  const run = await runPipeline(copyPipeline(FLIGHTS).folder, env)
  const replay = run.replay({ limit: EVENTS, rate: '1000' })
  await predicted(run, 2_000)

  // both at once for a while: the group gives each partition to one of them, and inference goes on with what is in features
  const fused = run.startStage('fused')
  await predicted(run, 4_000)
  await run.stage('processors').stop()
  await predicted(run, 6_000)

  run.startStage('processors')
  await predicted(run, 8_000)
  await fused.stop()

  expect(await replay.exited).toBe(0)
  expect(await run.settled(EVENTS, DEADLINE_MS)).toMatchObject({ predicted: EVENTS, missing: 0, duplicates: 0 })
  expect(await auditOf(run, env)).toMatchObject({
    verdict: 'exact',
    problems: [],
    totals: { predictions: { records: EVENTS, physicalCopies: 0 } },
  })
})
