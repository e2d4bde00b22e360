import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, inject, onTestFinished, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { startTestGateway } from '../support/gateway.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { pythonCommand, runClient } from '../support/python.ts'
import { runPipeline } from '../support/running-pipeline.ts'

const { env } = inject('stack')

test("Triton's client gets predictions", { timeout: 600_000 }, async () => {
  const { folder, name } = copyPipeline(FLIGHTS)
  await runPipeline(folder, env)
  // this client does not say how long it waits
  const gateway = await startTestGateway(folder, { ...env, MILLRACE_GATEWAY_PREDICT_WAIT_MS: '30000' })
  const key = await gateway.key()
  await untilPredicting(`${gateway.url}/v1/pipelines/${name}/predict`, key)
  const answers = JSON.parse(
    await runClient('infer_with_triton.py', [new URL(gateway.url).host, name], { GATEWAY_KEY: key }),
  )
  expect(answers).toMatchObject({
    live: true,
    ready: true,
    model_ready: true,
    other_model_ready: false,
    server: 'millrace',
    outputs: [3, 2],
    degraded: 'bool',
    versions: ['1'],
    refusal: ['422', expect.stringContaining('row 1 was rejected: distance_out_of_range')],
  })
  expect(answers.scores).toHaveLength(3)
  for (const score of answers.scores) expect(score).toBeGreaterThan(0)
  // the same rows, as other events
  expect(answers.scores_as_json).toEqual(answers.scores)
  expect(new Set(answers.request_ids).size).toBe(3)
})

const FLIGHT = {
  ...{ carrier: 'UA', flight: 1545, tailnum: 'N14228', origin: 'EWR', dest: 'IAH', distance: 1400, dep_delay: 2 },
  ...{ scheduled_at: 1357034100000, departed_at: 1357034220000 },
}

/** The stages that score have to have joined their groups before a client that waits for no longer than it says asks. */
async function untilPredicting(url: string, key: string): Promise<void> {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json', prefer: 'wait=20' }
  await eventually(
    async () => {
      const answer = await fetch(url, { method: 'POST', headers, body: JSON.stringify(FLIGHT) })
      expect(answer.status, await answer.text()).toBe(200)
    },
    { deadlineMs: 180_000 },
  )
}

const CHECKS = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_headers_conformance',
  'response_schema_conformance',
]

test('schemathesis finds no answer that the OpenAPI document does not describe', { timeout: 900_000 }, async () => {
  const { folder } = copyPipeline(FLIGHTS)
  await runPipeline(folder, env)
  const gateway = await startTestGateway(folder, env)
  const cwd = mkdtempSync(path.join(tmpdir(), 'millrace-schemathesis-'))
  onTestFinished(() => rmSync(cwd, { recursive: true, force: true }))
  // one worker: what generates the requests does not bear threads
  const bounds = ['--max-examples', '20', '--phases', 'examples,coverage,fuzzing', '--seed', '1', '--workers', '1']
  // nothing is to be said of how fast the machine makes requests and answers them
  const patience = ['--suppress-health-check', 'too_slow', '--request-timeout', '120']
  // a stream has no end
  const args = [
    'run',
    `${gateway.url}/openapi.json`,
    ...bounds,
    ...patience,
    '--exclude-operation-id',
    'streamPredictions',
  ]
  const { report, code } = await schemathesis(
    [...args, '--checks', CHECKS.join(','), '--header', `Authorization: Bearer ${await gateway.key()}`, '--no-color'],
    cwd,
  )
  expect(code, report).toBe(0)
  expect(report).toMatch(/ (\d{3,}) generated, \1 passed/)
})

async function schemathesis(args: readonly string[], cwd: string): Promise<{ report: string; code: unknown }> {
  const command = path.join(path.dirname(pythonCommand()), 'schemathesis')
  try {
    const { stdout } = await promisify(execFile)(command, [...args], { cwd, maxBuffer: 64 * 2 ** 20 })
    return { report: stdout, code: 0 }
  } catch (error) {
    const { stdout, code } = error as { readonly stdout?: string; readonly code?: unknown }
    return { report: stdout ?? String(error), code }
  }
}
