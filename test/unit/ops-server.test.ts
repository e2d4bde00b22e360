import { expect, onTestFinished, test } from 'vitest'
import { startOpsServer } from '../../infra/runtime/http/ops-server.ts'
import { createPartitionControl } from '../../infra/runtime/lifecycle/partition-control.ts'
import { createMetrics } from '../../infra/runtime/telemetry/metrics.ts'

async function ops() {
  const metrics = createMetrics({ stage: 'test' })
  const partitions = createPartitionControl(metrics)
  const paused = new Set<number>()
  partitions.add('a.events', {
    pause: (partition) => void paused.add(partition),
    resume: (partition) => void paused.delete(partition),
    paused: () => paused,
  })
  const health = { live: () => null, ready: () => partitions.problem() }
  const server = await startOpsServer({ host: '127.0.0.1', port: 0, health, metrics, partitions })
  onTestFinished(() => server.stop())
  const url = `http://127.0.0.1:${server.value.port}`
  const post = async (path: string, init: RequestInit = {}): Promise<readonly [number, string]> => {
    const response = await fetch(`${url}${path}`, { method: 'POST', ...init })
    return [response.status, (await response.text()).trim()]
  }
  const get = async (path: string): Promise<readonly [number, string]> => await post(path, { method: 'GET' })
  return { post, get, paused }
}

test('an operator pauses and resumes a partition; readiness and a metric say so', async () => {
  const { post, get, paused } = await ops()
  expect(await get('/ready')).toEqual([200, '{"ok":true,"problem":null}'])
  expect(await post('/partitions/a.events/3/pause')).toEqual([200, 'a.events/3 is paused'])
  expect([...paused]).toEqual([3])
  expect(await get('/ready')).toEqual([503, '{"ok":false,"problem":"paused by an operator: a.events/3"}'])
  expect((await get('/live'))[0]).toBe(200)
  expect((await get('/metrics'))[1]).toContain(
    'millrace_partition_paused{topic="a.events",partition="3",stage="test"} 1',
  )
  expect(await post('/partitions/a.events/3/resume')).toEqual([200, 'a.events/3 is resumed'])
  expect(await get('/ready')).toEqual([200, '{"ok":true,"problem":null}'])
})

test('what is not asked rightly is refused', async () => {
  const { post, get, paused } = await ops()
  expect(await post('/partitions/other/3/pause')).toEqual([404, 'this process does not read other'])
  expect(await get('/partitions/a.events/3/pause')).toEqual([405, 'POST only'])
  expect(await post('/partitions/a.events/x/pause')).toEqual([404, 'not found'])
  expect(await post('/partitions/a.events/3/drop')).toEqual([404, 'not found'])
  const fromPage = { headers: { origin: 'http://a.example' } }
  expect(await post('/partitions/a.events/3/pause', fromPage)).toEqual([403, 'not from a browser'])
  expect(paused.size).toBe(0)
})
