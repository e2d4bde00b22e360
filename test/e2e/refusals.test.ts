import { once } from 'node:events'
import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { expect, inject, onTestFinished, test } from 'vitest'
import { commandConnections } from '../../infra/cli/connections.ts'
import { freePorts } from '../../infra/local/ports.ts'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { eventually } from '../support/eventually.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { writeRawRecords } from '../support/raw-records.ts'
import { runPipeline } from '../support/running-pipeline.ts'
import { spawnNode } from '../support/spawn-process.ts'
import { openTcpGate } from '../support/tcp-gate.ts'
import { uniqueName } from '../support/unique-name.ts'

const DEADLINE_MS = 240_000

function millrace(...args: string[]): Promise<Ended> {
  return ended(['infra/cli/main.ts', ...args])
}

/** A stage that is expected to end by itself. */
function stage(name: 'processors' | 'inference', folder: string): Promise<Ended> {
  return ended([`${name}/main.ts`], { MILLRACE_PIPELINE: folder })
}

interface Ended {
  readonly code: number | NodeJS.Signals
  readonly output: string
}

async function ended(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const run = spawnNode(args, { env: { ...inject('stack').env, ...env } })
  return { code: await run.exited, output: run.output() }
}

test('a pipeline that names an unknown field: by lint and by the stage', { timeout: DEADLINE_MS }, async () => {
  const { folder } = copyPipeline(FLIGHTS, (source) => source.replace("number('distance')", "number('distanse')"))
  const message =
    /pipeline\.ts: features\.distance\.field: there is no field distanse in flights\.FlightDeparture \(did you mean distance\?\)/
  for (const { code, output } of [await millrace('lint', folder), await stage('processors', folder)]) {
    expect(code).toBe(1)
    expect(output).toMatch(message)
  }
})

test('features in another order than the model has them: by lint and by inference', {
  timeout: DEADLINE_MS,
}, async () => {
  const { folder } = copyPipeline(FLIGHTS, (source) =>
    source.replace(/( +dep_delay: .*\n)( +distance: .*\n)/, (_, first: string, second: string) => second + first),
  )
  const message =
    /models\/1\/manifest\.json: input\.features: the order differs: feature 0 is distance in the pipeline and dep_delay in the model/
  for (const { code, output } of [await millrace('lint', folder), await stage('inference', folder)]) {
    expect(code).toBe(1)
    expect(output).toMatch(message)
  }
})

test('a corrupted model file: by lint and by inference', { timeout: DEADLINE_MS }, async () => {
  const { folder } = copyPipeline(FLIGHTS)
  appendFileSync(path.join(folder, 'models/1/model.onnx'), 'x')
  const message = /models\/1\/model\.onnx: the model file is not the one .*sha256/i
  for (const { code, output } of [await millrace('lint', folder), await stage('inference', folder)]) {
    expect(code).toBe(1)
    expect(output).toMatch(message)
  }
})

test('an incompatible change of a schema', { timeout: DEADLINE_MS }, async () => {
  const { name, folder } = copyPipeline(FLIGHTS)
  expect(await millrace('schemas', folder)).toMatchObject({ code: 0 })
  const file = path.join(folder, 'event.avsc')
  const schema = JSON.parse(readFileSync(file, 'utf8'))
  // readers of the new schema cannot read what has no such field
  schema.fields.push({ name: 'gate', type: 'string' })
  writeFileSync(file, JSON.stringify(schema))
  const { code, output } = await millrace('schemas', folder)
  expect(code).toBe(1)
  expect(output).toMatch(new RegExp(`the registry refused the schema of ${name}\\.events-value as incompatible`))

  // and with a default it is compatible
  schema.fields.at(-1).default = ''
  writeFileSync(file, JSON.stringify(schema))
  expect(await millrace('schemas', folder)).toMatchObject({ code: 0 })
})

test('a cluster that cannot keep three replicas, unless that is accepted', { timeout: DEADLINE_MS }, async () => {
  const { name, folder } = copyPipeline(FLIGHTS)
  const { code, output } = await millrace('topics', folder)
  expect(code).toBe(1)
  expect(output).toMatch(/the cluster has 1 broker\(s\); 3 replicas are needed .*--allow-single-replica/)
  const accepted = await millrace('topics', folder, '--allow-single-replica')
  expect(accepted).toMatchObject({ code: 0, output: expect.stringContaining(`${name}.events (4 partitions)`) })
})

test('ClickHouse is not there when sinks start: they say so, keep trying, and go on once it is', {
  timeout: 2 * DEADLINE_MS,
}, async () => {
  const { env } = inject('stack')
  const { hostname, port } = new URL(env['CLICKHOUSE_URL'] ?? '')
  const gate = await openTcpGate({ host: hostname, port: Number(port) })
  onTestFinished(() => gate.close())
  const run = await runPipeline(copyPipeline(FLIGHTS).folder, env, { start: false })
  const { label, folder } = run.pipeline
  if (label === null) throw new Error('flights have labels')
  const schemaId = await commandConnections({ ...process.env, ...env }).registry.register(label.subject, label.schema)
  const type = parseAvroSchema(label.schema, 'label')
  const labels = Array.from({ length: 200 }, (_, at) => ({
    partition: at % 4,
    key: `flight-${at}`,
    value: type.encode(schemaId, { event_id: `flight-${at}`, arr_delay: at - 100, arrived_at: Date.UTC(2013, 3, 1) }),
  }))
  await writeRawRecords(env, label.topic, labels)

  await gate.shut()
  const [opsPort = 0] = await freePorts(1)
  const sinks = spawnNode(['sinks/main.ts'], {
    env: {
      ...env,
      CLICKHOUSE_URL: `http://127.0.0.1:${gate.port}`,
      MILLRACE_PIPELINE: folder,
      MILLRACE_OPS_PORT: String(opsPort),
    },
  })
  const ready = async (): Promise<{ status: number; body: unknown }> => {
    const answer = await fetch(`http://127.0.0.1:${opsPort}/ready`)
    return { status: answer.status, body: await answer.json() }
  }
  await eventually(
    async () =>
      expect(await ready()).toEqual({
        status: 503,
        body: { ok: false, problem: expect.stringMatching(/^starting: ClickHouse: .*ECONNREFUSED/) },
      }),
    { deadlineMs: DEADLINE_MS },
  )
  await eventually(() => expect(sinks.output().match(/ClickHouse: trying again/g)?.length).toBeGreaterThan(2), {
    deadlineMs: DEADLINE_MS,
  })
  expect((await fetch(`http://127.0.0.1:${opsPort}/live`)).status).toBe(200)

  await gate.open()
  await eventually(async () => expect(await ready()).toMatchObject({ status: 200, body: { ok: true } }), {
    deadlineMs: DEADLINE_MS,
  })
  expect(await run.settled(0, DEADLINE_MS)).toMatchObject({ labels: 200, labelsStored: 200, labelsUnstored: 0 })
  sinks.kill('SIGTERM')
  expect(await sinks.exited).toBe(0)
})

test('a port that is taken: `up` names the variable that moves it', { timeout: DEADLINE_MS }, async () => {
  const occupant = createServer().listen(0, '127.0.0.1')
  await once(occupant, 'listening')
  onTestFinished(() => void occupant.close())
  const { port: taken } = occupant.address() as AddressInfo
  const [kafka, controller, registry, redis] = await freePorts(4)
  const root = path.resolve(import.meta.dirname, '../../.millrace')
  const home = path.join(root, 'test', uniqueName('refusal'))
  onTestFinished(() => rmSync(home, { recursive: true, force: true }))
  const { code, output } = await ended(['infra/cli/main.ts', 'up', FLIGHTS, '--exit', '--limit', '10'], {
    MILLRACE_DATA: home,
    MILLRACE_KAFKA_PORT: String(kafka),
    MILLRACE_KAFKA_CONTROLLER_PORT: String(controller),
    MILLRACE_REGISTRY_PORT: String(registry),
    MILLRACE_REDIS_PORT: String(redis),
    MILLRACE_CLICKHOUSE_PORT: String(taken),
    KAFKA_BROKERS: undefined,
    SCHEMA_REGISTRY_URL: undefined,
    REDIS_URL: undefined,
    CLICKHOUSE_URL: undefined,
  })
  expect(code).toBe(1)
  expect(output).toContain(`Port ${taken} (clickhouse) is taken: set MILLRACE_CLICKHOUSE_PORT to another one.`)
})

test('a wrong address: doctor says which variable has it', { timeout: DEADLINE_MS }, async () => {
  const [nothing] = await freePorts(1)
  const wrong = {
    KAFKA_BROKERS: `127.0.0.1:${nothing}`,
    SCHEMA_REGISTRY_URL: `http://127.0.0.1:${nothing}/apis/ccompat/v7`,
    REDIS_URL: `redis://127.0.0.1:${nothing}`,
    CLICKHOUSE_URL: `http://127.0.0.1:${nothing}`,
  }
  const healthy = await millrace('doctor')
  expect(healthy, healthy.output).toMatchObject({ code: 0, output: expect.not.stringContaining('WRONG') })
  for (const [variable, address] of Object.entries(wrong)) {
    const { code, output } = await ended(['infra/cli/main.ts', 'doctor'], { [variable]: address })
    expect(code).toBe(1)
    const lines = output.split('\n')
    expect(lines.filter((line) => line.startsWith('WRONG '))).toEqual([
      expect.stringMatching(new RegExp(`\\(${variable} ${address.replaceAll('.', '\\.')}/?\\): .+`)),
    ])
    expect(lines.filter((line) => line.startsWith('ok ') && !line.includes('fencing'))).toHaveLength(3)
  }
})
