import { expect, inject, test } from 'vitest'
import { startTestGateway } from '../support/gateway.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { runPipeline } from '../support/running-pipeline.ts'

const { env } = inject('stack')

const flight = (id: string | null, more: object = {}): object => ({
  ...(id === null ? {} : { event_id: id }),
  ...{ carrier: 'UA', flight: 1545, tailnum: 'N14228', origin: 'EWR', dest: 'IAH' },
  ...{ scheduled_at: 1_357_034_100_000, departed_at: 1_357_034_220_000, dep_delay: 2, distance: 1_400 },
  ...{ plane_year: 1999, plane_seats: 149, ...more },
})

test('an event is in Kafka when it is answered 202', async () => {
  const { folder, name } = copyPipeline(FLIGHTS)
  const run = await runPipeline(folder, env, { start: false })
  const gateway = await startTestGateway(folder, env)
  const key = await gateway.key()
  const response = await fetch(`${gateway.url}/v1/pipelines/${name}/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify(flight('one')),
  })
  const body: unknown = await response.json()
  expect([response.status, body]).toEqual([
    202,
    { event_id: 'one', repeated: false, request_id: expect.stringMatching(new RegExp(`^${name}\\.\\d{8}\\.\\d\\.0$`)) },
  ])
  const account = await run.account()
  expect(account.events).toBe(1)
})
