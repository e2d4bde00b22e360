import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, inject, onTestFinished, test } from 'vitest'
import { retireVersion } from '../../inference/commands/model-retire.ts'
import { promote } from '../../inference/commands/rollout-promote.ts'
import { modelEntryOf } from '../../inference/models/model-entries.ts'
import { readRollout } from '../../inference/rollout/read-rollout.ts'
import { createSchemaRegistry } from '../../infra/runtime/avro/schema-registry.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, kafkaConfig, readConfig, registryConfig } from '../../infra/runtime/config.ts'
import type { ControlLog, ControlRecord } from '../../infra/runtime/control/control-log.ts'
import { startControlLog } from '../../infra/runtime/control/start-control-log.ts'
import { describeError } from '../../infra/runtime/errors.ts'
import { createIdempotentWriter } from '../../infra/runtime/kafka/producer/idempotent-writer.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { ModelEntry, RolloutEntry } from '../../schemas/control/models.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { eventually } from '../support/eventually.ts'
import { lanesOn } from '../support/lanes-on-kafka.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { type RunningPipeline, runPipeline } from '../support/running-pipeline.ts'
import { type RunningProcess, spawnNode } from '../support/spawn-process.ts'
import { uniqueName } from '../support/unique-name.ts'

// Two processes follow one rollout through the real control log, stage metrics and consumer group.

const { env } = inject('stack')
const settings = readConfig(CONNECTIONS, env)
const SOON = { deadlineMs: 60_000 }
const BY = { actor: 'test', reason: 'test' }

async function controlLog(): Promise<ControlLog> {
  const lanes = await lanesOn(kafkaConfig(settings).brokers)
  const { connections: brokers, logReader: log } = lanes
  const deps = { clock: systemClock, logger: silentLogger }
  const writer = createIdempotentWriter({ ...deps, connections: brokers })
  const registry = createSchemaRegistry(registryConfig(settings))
  const started = await startControlLog({ ...deps, brokers, log, writer: writer.value, registry })
  onTestFinished(async () => {
    await started.stop()
    await writer.stop()
    await lanes.stop()
  })
  return started.value
}

type Registered = Pick<CompiledPipeline, 'featureSet'> & { readonly model: { readonly name: string } }

async function register(control: ControlLog, { model, featureSet }: Registered, version: string): Promise<void> {
  const digest = version.padStart(64, '0')
  const value: ModelEntry = {
    ...{ model: model.name, version, manifest: digest, digest },
    ...{ featureSet: featureSet.digest, profiles: [], state: 'active' },
  }
  await control.append({ kind: 'model', name: `${model.name}/${version}`, basedOn: null, value, ...BY })
}

/** A pipeline whose model no other test speaks of, unless it is named. */
async function deploy(model = uniqueName('model')): Promise<RunningPipeline> {
  const { folder } = copyPipeline(FLIGHTS, (source) => source.replace("name: 'flight-delay'", `name: '${model}'`))
  const file = path.join(folder, 'models/1/manifest.json')
  writeFileSync(file, readFileSync(file, 'utf8').replace('"flight-delay"', `"${model}"`))
  return await runPipeline(folder, env, { partitions: 2, start: false })
}

function member(pipeline: CompiledPipeline, own: Readonly<Record<string, string>> = {}): RunningProcess {
  return spawnNode([path.resolve('test/support/rollout-process.ts')], {
    env: { ...env, MILLRACE_PIPELINE: pipeline.folder, ...own },
  })
}

async function command(...args: readonly string[]): Promise<{ readonly code: unknown; readonly output: string }> {
  const child = spawnNode([path.resolve('test/support/rollout-cli.ts'), ...args], { env })
  return { code: await child.exited, output: child.output() }
}

interface LogLine {
  readonly time: string
  readonly msg: string
  readonly instance: string
  readonly production?: string
  readonly version?: string
  readonly digest?: string
}

function linesOf(process: RunningProcess): readonly LogLine[] {
  return process
    .output()
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as LogLine)
}

const said = (process: RunningProcess, message: string): readonly LogLine[] =>
  linesOf(process).filter(({ msg }) => msg === message)
const inForce = (process: RunningProcess): string | undefined =>
  said(process, 'rollout plan in force').at(-1)?.production

test('a rollout of two processes: activated, stalled, contested, rolled back by hand and by a guard', {
  timeout: 600_000,
}, async () => {
  const { pipeline } = await deploy()
  const model = pipeline.model.name
  const control = await controlLog()
  const history: ControlRecord[] = []
  control.watch((record) => {
    if (record.kind === 'rollout' && record.name === model) history.push(record)
  })
  const last = (): RolloutEntry | null => readRollout(control, model).entry
  for (const version of ['2', '3', '4', '5', '6']) await register(control, pipeline, version)

  const first = member(pipeline, { FAILING_VERSION: '6' })
  const second = member(pipeline, { BROKEN_VERSION: '3', SLOW_VERSION: '2' })
  const members = [first, second]
  const allServe = (version: string) =>
    eventually(() => expect(members.map(inForce)).toEqual(members.map(() => version)), SOON)
  await eventually(() => {
    for (const one of members) expect(said(one, 'stage started')).toHaveLength(1)
  }, SOON)

  // activated, and not before the slower one has loaded it
  const promoted = await command('promote', `${model}/2`, '--wait', '--deadline', '60s')
  expect(promoted).toMatchObject({ code: 0, output: expect.stringContaining(`${model}/2: activated`) })
  await allServe('2')
  const isActivated = ({ value }: ControlRecord): boolean => (value as RolloutEntry).step === 'activated'
  // what members follow reaches them and this test apart
  await eventually(() => expect(history.find(isActivated)?.reason).toBe('all 2 members are ready'), SOON)
  const activated = history.find(isActivated)
  const loaded = said(second, 'version opened').find(({ version }) => version === '2')
  expect(activated?.at).toBeGreaterThanOrEqual(Date.parse(loaded?.time ?? ''))

  // one cannot load it, and the other has in that time: the plan before it stays, and the entry names the process
  const stalled = await command('promote', `${model}/3`, '--wait', '--deadline', '10s')
  expect(stalled.code).toBe(2)
  const notReady = [said(second, 'stage started')[0]?.instance]
  await eventually(
    () =>
      expect(last()).toMatchObject({
        step: 'stalled',
        active: { production: '2' },
        evidence: { members: 2, notReady },
      }),
    SOON,
  )
  expect(members.map(inForce)).toEqual(['2', '2'])
  await eventually(() => {
    const stall = { level: 40, code: 'rollout_stalled', model, evidence: { notReady } }
    for (const one of members) expect(said(one, 'rollout stalled')).toMatchObject([stall])
  }, SOON)

  // two promotes at once
  const other = await controlLog()
  const terms = { model, role: { as: 'production' }, deadlineMs: 60_000, guarded: true, bundled: false, ...BY } as const
  const both = await Promise.allSettled([
    promote(control, { ...terms, version: '4' }, Date.now()),
    promote(other, { ...terms, version: '5' }, Date.now()),
  ])
  const winner = both[0].status === 'fulfilled' ? '4' : '5'
  const refused = both.filter((one) => one.status === 'rejected').map(({ reason }) => describeError(reason).code)
  expect(refused).toHaveLength(1)
  expect(['control_conflict', 'rollout_pending']).toContain(refused[0])
  await allServe(winner)

  // back by hand
  const back = await command('rollback', model, '--reason', 'test')
  expect(back).toMatchObject({ code: 0, output: expect.stringContaining('production 2') })
  await allServe('2')
  expect(await command('rollback', model)).toMatchObject({ code: 1, output: 'nothing_to_roll_back\n' })

  // a candidate that fails is taken out by the process that sees it
  const canary = await command('promote', `${model}/6`, '--candidate', '--weight', '10%', '--wait')
  expect(canary.code).toBe(0)
  await eventually(() => expect(last()?.step).toBe('rolled_back'), SOON)
  expect(last()).toMatchObject({
    active: { production: '2', candidate: null },
    evidence: { guard: 'error_rate', version: '6', against: '2', instance: said(first, 'stage started')[0]?.instance },
  })

  // one that joins starts with the active plan
  const third = member(pipeline)
  members.push(third)
  await eventually(() => expect(said(third, 'stage started')).toHaveLength(1), SOON)
  const messages = linesOf(third).map(({ msg }) => msg)
  expect(messages.indexOf('rollout plan in force')).toBeLessThan(messages.indexOf('stage started'))
  expect(inForce(third)).toBe('2')

  for (const one of members) one.kill('SIGTERM')
  expect(await Promise.all(members.map(({ exited }) => exited))).toEqual([0, 0, 0])
})

test('two pipelines with one model: the members of both are asked, and one entry decides for both', {
  timeout: 600_000,
}, async () => {
  const { pipeline: one, admin } = await deploy()
  const model = one.model.name
  const { pipeline: other } = await deploy(model)
  const control = await controlLog()
  const history: ControlRecord[] = []
  control.watch((record) => {
    if (record.kind === 'rollout' && record.name === model) history.push(record)
  })
  const steps = () => history.map(({ value }) => (value as RolloutEntry).step)
  for (const version of ['2', '3']) await register(control, one, version)
  const first = member(one)
  const second = member(other, { BROKEN_VERSION: '3', SLOW_VERSION: '2' })
  const instance = (process: RunningProcess) => said(process, 'stage started')[0]?.instance
  // they join their groups soon after they have started
  const joined = ({ name }: CompiledPipeline) => admin.members(`${name}.inference`)
  await eventually(async () => {
    const expected = [first, second].map((process) => [instance(process)])
    expect([await joined(one), await joined(other)]).toEqual(expected)
  }, SOON)

  // the slower pipeline is waited for, whoever decides
  const promoted = await command('promote', `${model}/2`, '--wait', '--deadline', '60s')
  expect(promoted).toMatchObject({ code: 0, output: expect.stringContaining(`${model}/2: activated`) })
  await eventually(() => expect([first, second].map(inForce)).toEqual(['2', '2']), SOON)
  await eventually(() => expect(history.at(-1)?.reason).toBe('all 2 members of 2 groups are ready'), SOON)
  const loaded = said(second, 'version opened').find(({ version }) => version === '2')
  expect(history.at(-1)?.at).toBeGreaterThanOrEqual(Date.parse(loaded?.time ?? ''))

  // one pipeline cannot load it: the other does not activate it for both, and the entry names the group
  const stalled = await command('promote', `${model}/3`, '--wait', '--deadline', '10s')
  expect(stalled.code).toBe(2)
  await eventually(() => expect(steps()).toEqual(['proposed', 'activated', 'proposed', 'stalled']), SOON)
  expect(history.at(-1)?.value).toMatchObject({
    active: { production: '2' },
    evidence: { members: 2, notReady: [instance(second)], groups: [`${other.name}.inference`] },
  })
  expect([first, second].map(inForce)).toEqual(['2', '2'])

  // nobody waits for a pipeline that is not there; when it comes back it is not ready before it has loaded what is in force
  second.kill('SIGTERM')
  expect(await second.exited).toBe(0)
  expect(await command('promote', `${model}/3`, '--wait', '--deadline', '60s')).toMatchObject({ code: 0 })
  await eventually(() => expect(history.at(-1)?.reason).toBe('all 1 members are ready'), SOON)
  const back = member(other, { SLOW_VERSION: '3' })
  await eventually(() => expect(instance(back)).toBeDefined(), SOON)
  const messages = linesOf(back).map(({ msg }) => msg)
  expect(messages.indexOf('rollout plan in force')).toBeLessThan(messages.indexOf('stage started'))
  await eventually(() => expect([first, back].map(inForce)).toEqual(['3', '3']), SOON)

  for (const process of [first, back]) process.kill('SIGTERM')
  expect(await Promise.all([first, back].map(({ exited }) => exited))).toEqual([0, 0])
})

test('a version that is registered under the name of one that serves from the folder changes nothing, until it is promoted', {
  timeout: 600_000,
}, async () => {
  const { pipeline } = await deploy()
  const model = pipeline.model.name
  const control = await controlLog()
  const own = readModelManifest(path.join(pipeline.model.directory, '1')).sha256
  const members = [member(pipeline)]
  const started = () =>
    eventually(() => {
      for (const one of members) expect(said(one, 'stage started')).toHaveLength(1)
    }, SOON)
  /** Of what was opened under that name, by each process. */
  const opened = () =>
    members.map((one) => said(one, 'version opened').flatMap(({ version, digest }) => (version === '1' ? digest : [])))
  await started()
  expect(await command('promote', `${model}/1`, '--bundled', '--wait')).toMatchObject({ code: 0 })

  // as by a push for another pipeline, then entries about the plan that is in force
  for (const version of ['1', '2']) await register(control, pipeline, version)
  expect(await command('promote', `${model}/2`, '--candidate', '--wait')).toMatchObject({ code: 0 })
  expect(await command('pause', model)).toMatchObject({ code: 0 })
  members.push(member(pipeline))
  await started()
  await eventually(() => expect(members.map(inForce)).toEqual(['1', '1']), SOON)
  expect(opened()).toEqual([[own], [own]])

  expect(await command('promote', `${model}/1`, '--wait')).toMatchObject({ code: 0 })
  expect(opened().map((digests) => digests.at(-1))).toEqual(['1', '1'].map((version) => version.padStart(64, '0')))

  for (const one of members) one.kill('SIGTERM')
  expect(await Promise.all(members.map(({ exited }) => exited))).toEqual([0, 0])
})

test('a proposal that nobody serves is ended by who waits for it', async () => {
  const model = uniqueName('model')
  const waited = await command('promote', `${model}/1`, '--bundled', '--wait', '--deadline', '100ms')
  expect(waited.code).toBe(2)
  expect(waited.output).toContain('"undecided":true')
  expect(await command('promote', `${model}/1`)).toMatchObject({ code: 1, output: 'unknown_version\n' })
})

test('a version that is promoted while it is retired serves on, and stays registered', async () => {
  const model = uniqueName('model')
  const [control, other] = [await controlLog(), await controlLog()]
  await register(control, { model: { name: model }, featureSet: { features: [], digest: 'none' } }, '1')
  await eventually(() => expect(other.latest('model', `${model}/1`)).not.toBeNull(), SOON)
  const terms = {
    model,
    version: '1',
    role: { as: 'production' },
    deadlineMs: 60_000,
    guarded: true,
    bundled: false,
  } as const
  let isFirst = true
  const overtaken: ControlLog = {
    revision: control.revision,
    latest: (kind, name) => control.latest(kind, name),
    all: (kind) => control.all(kind),
    watch: (listener) => control.watch(listener),
    async append(change) {
      if (isFirst) await promote(other, { ...terms, ...BY }, Date.now())
      isFirst = false
      return await control.append(change)
    },
  }
  await expect(retireVersion(overtaken, `${model}/1`, BY)).rejects.toMatchObject({ code: 'version_serves' })
  const record = control.latest('model', `${model}/1`)
  expect(record && modelEntryOf(record)).toMatchObject({ state: 'active' })
})
