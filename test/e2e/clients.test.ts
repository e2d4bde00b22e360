import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, inject, test } from 'vitest'
import { howToQuery } from '../../infra/cli/up/how-to-query.ts'
import { eventually } from '../support/eventually.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { clientFile, pythonCommand, runClient } from '../support/python.ts'
import { runPipeline } from '../support/running-pipeline.ts'
import { spawnProgram } from '../support/spawn-process.ts'

const FLIGHTS_REPLAYED = 2_000
/** write_flights.py adds one that is predicted and one that is not. */
const EVENTS = FLIGHTS_REPLAYED + 2

test('clients of other languages write events, and read every topic and ClickHouse', { timeout: 600_000 }, async () => {
  const { env } = inject('stack')
  const { name, folder } = copyPipeline(FLIGHTS)
  const run = await runPipeline(folder, env)
  expect(await run.replay({ limit: FLIGHTS_REPLAYED, rate: 'max' }).exited).toBe(0)
  await runClient('write_flights.py', [`${name}.events`], env)
  const { labels } = await run.settled(EVENTS, 180_000)

  // fastavro and confluent-kafka make up the account from the topics alone; each stage reports every second
  const topics = await eventually(
    async () => {
      const read = JSON.parse(await runClient('read_topics.py', [name], env))
      expect(read.stages).toEqual(expect.arrayContaining(['processors', 'inference', 'sinks-predictions']))
      return read
    },
    { deadlineMs: 120_000 },
  )
  expect(topics).toMatchObject({
    counts: { events: EVENTS, features: EVENTS - 1, predictions: EVENTS - 1, 'dead-letters': 1, labels },
    with_one_end: EVENTS,
    ends_of_nothing: 0,
    generations: 1,
    keys_kept: true,
    reasons: { distance_out_of_range: 1 },
  })
  expect(labels).toBeGreaterThan(FLIGHTS_REPLAYED / 2)
  expect(topics.counts.weather).toBeGreaterThan(0)

  // clickhouse-connect and ONNX Runtime for Python
  const scores = JSON.parse(await runClient('score_again.py', [name, path.join(folder, 'models/1')], env))
  expect(scores).toMatchObject({ rows: EVENTS - 1, digests: true })
  expect(scores.missing_values).toBeGreaterThan(0)
  expect(Math.max(scores.scores, scores.outputs)).toBeLessThanOrEqual(1e-6)

  // the query that `up` prints
  const command = howToQuery(run.pipeline, env).find((line) => line.includes('curl '))
  expect(await pasted(command ?? '')).toMatch(/event_id─+┬─+score─┐/)

  // the program of the README
  const reader = spawnProgram(pythonCommand(), [clientFile('consume_predictions.py'), `${name}.predictions`], { env })
  await eventually(() => expect(reader.output().trim().split('\n')).toHaveLength(EVENTS - 1), { deadlineMs: 120_000 })
  reader.kill('SIGKILL')
  expect(await reader.exited).toBe('SIGKILL')
  expect(reader.output()).toMatch(/^from-python 0\.\d+$/m)
})

/** What ClickHouse answers to a curl command line. The shell reads it, so its quoting is tested; curl need not be there. */
async function pasted(command: string): Promise<string> {
  const { stdout } = await promisify(execFile)('sh', ['-c', `curl() { printf '%s\\n' "$@"; }\n${command}`])
  const [url = '', option, query = ''] = stdout.trimEnd().split('\n')
  expect(option).toBe('--data-binary')
  const answer = await fetch(url, { method: 'POST', body: query })
  expect(answer.status).toBe(200)
  return await answer.text()
}
