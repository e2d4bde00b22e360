import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { beforeEach, expect, inject, onTestFinished, test } from 'vitest'
import { withControlLog } from '../../infra/cli/control-log.ts'
import type { RolloutEntry } from '../../schemas/control/models.ts'
import { copyPipeline, FLIGHTS, ORDERS } from '../support/pipeline-copy.ts'
import { addVersion } from '../support/scoring.ts'
import { spawnNode } from '../support/spawn-process.ts'
import { uniqueName } from '../support/unique-name.ts'

const TIMEOUT = { timeout: 900_000 }

let scratch = ''
beforeEach(() => {
  scratch = mkdtempSync(path.join(tmpdir(), 'millrace-commands-'))
  onTestFinished(() => rmSync(scratch, { recursive: true, force: true }))
})

const env = () => ({
  ...inject('stack').env,
  MILLRACE_MODEL_STORE: path.join(scratch, 'store'),
  MILLRACE_MODEL_CACHE: path.join(scratch, 'cache'),
})

async function millrace(...args: readonly string[]): Promise<{ code: unknown; output: string }> {
  const child = spawnNode(['infra/cli/main.ts', ...args], { env: env() })
  return { code: await child.exited, output: child.output() }
}

/** A pipeline whose model nobody else has versions of, and its topics. */
async function pipelineWithModel(
  source: string,
  name: string,
): Promise<{ readonly folder: string; readonly model: string }> {
  const model = uniqueName('model')
  const { folder } = copyPipeline(source, (text) =>
    text.replace(`model: { name: '${name}'`, `model: { name: '${model}'`),
  )
  expect(await millrace('topics', folder, '--partitions', '1', '--allow-single-replica')).toMatchObject({ code: 0 })
  return { folder, model }
}

test('a version is pushed, listed, shown, verified and retired', TIMEOUT, async () => {
  const { folder, model } = await pipelineWithModel(FLIGHTS, 'flight-delay')
  const version = addVersion(scratch, '1', {
    edit: (manifest) => {
      manifest['name'] = model
    },
  })
  const push = () => millrace('model', 'push', version, '--pipeline', folder, '--actor', 'ann', '--reason', 'first')
  const first = await push()
  expect(first.output).toContain(`${model}/1: files, structure, load, batches, missing, profile: passed\n`)
  expect(first.output).toMatch(new RegExp(`${model}/1: cpu [\\d.]+ µs \\+ [\\d.]+ µs per row, p99/p50 [\\d.]+\n`))
  expect(first).toEqual({ code: 0, output: expect.stringContaining(`registered  ${model}/1\n`) })
  const again = await push()
  expect(again).toEqual({
    code: 0,
    output: expect.stringContaining(`${model}/1 is registered already with this content`),
  })

  addVersion(scratch, '1', {
    edit: (manifest) => {
      manifest['name'] = model
      manifest.golden = manifest.golden.slice(0, 5)
    },
  })
  const other = await push()
  expect(other).toEqual({ code: 1, output: expect.stringContaining(`${model}/1 is there with other content`) })

  const listed = await millrace('model', 'list', model)
  expect(listed.output).toMatch(new RegExp(`^${model}/1 +active +5909c242cf04 .* ann\n$`))
  const shown = await millrace('model', 'show', `${model}/1`)
  expect(shown.output).toContain('model        sha256 5909c242cf046c85915853b110122361a8ba07ef64d4f06be87022a627057305')
  expect(shown.output).toContain('golden rows  20\n')
  expect(shown.output).toMatch(/by {11}ann at .*: first\n/)
  expect(await millrace('model', 'verify', `${model}/1`)).toEqual({
    code: 0,
    output: expect.stringContaining('missing, profile: passed'),
  })
  // the store was looked at, not what may have been fetched before
  expect(existsSync(path.join(scratch, 'cache'))).toBe(false)

  await inUse(model, '1')
  const retire = () => millrace('model', 'retire', `${model}/1`, '--actor', 'bob')
  expect(await retire()).toEqual({
    code: 1,
    output: expect.stringContaining(`${model}/1 is production: promote another`),
  })
  await inUse(model, '2')
  expect(await retire()).toEqual({ code: 0, output: `retired  ${model}/1\n` })
  expect(await retire()).toEqual({ code: 0, output: `${model}/1 was retired before\n` })
  expect((await millrace('model', 'list', model)).output).toMatch(/^model-\S+ +retired .* bob\n$/)
  const unknown = await millrace('model', 'show', `${model}/9`)
  expect(unknown).toEqual({ code: 1, output: expect.stringContaining(`there is no ${model}/9`) })
})

test('an ONNX file and an MLflow model become versions, numbered where nobody names them', TIMEOUT, async () => {
  const { folder, model } = await pipelineWithModel(ORDERS, 'order-risk')
  const onnx = path.join(ORDERS, 'models/1/model.onnx')
  const push = (source: string, ...more: readonly string[]) =>
    millrace('model', 'push', source, '--pipeline', folder, ...more)
  expect(await push(onnx)).toEqual({ code: 0, output: expect.stringContaining(`registered  ${model}/2\n`) })
  expect(await push(onnx)).toEqual({ code: 0, output: expect.stringContaining(`${model}/2 is registered already`) })

  const mlflow = path.join(scratch, 'mlflow')
  mkdirSync(mlflow)
  cpSync(onnx, path.join(mlflow, 'model.onnx'))
  writeFileSync(path.join(mlflow, 'MLmodel'), 'flavors:\n  onnx:\n    data: model.onnx\n    onnx_version: 1.19.1\n')
  expect(await push(mlflow, '--version', 'from-mlflow')).toEqual({
    code: 0,
    output: expect.stringContaining(`registered  ${model}/from-mlflow\n`),
  })
  const shown = JSON.parse((await millrace('model', 'show', `${model}/from-mlflow`, '--json')).output)
  const original = JSON.parse(readFileSync(path.join(ORDERS, 'models/1/manifest.json'), 'utf8'))
  expect(shown.manifest).toMatchObject({ sha256: original.sha256, task: 'multiclass' })
  expect(shown.manifest.input).toMatchObject({ missing: 'refuse', features: original.input.features })
})

test('what is refused is neither stored nor registered', TIMEOUT, async () => {
  const { folder, model } = await pipelineWithModel(FLIGHTS, 'flight-delay')
  const version = addVersion(scratch, '1', {
    edit: (manifest) => {
      manifest['name'] = model
      for (const { outputs } of manifest.golden.slice(0, 1)) outputs[0] = 0.5
    },
  })
  const refused = await millrace('model', 'push', version, '--pipeline', folder)
  expect(refused).toEqual({
    code: 1,
    output: expect.stringContaining(`millrace: ${model}/1 is refused (load: invalid_model): `),
  })
  expect(refused.output).toContain('golden[0].outputs[0]: 0.5 is expected')
  expect(await millrace('model', 'push', version, '--pipeline', ORDERS)).toMatchObject({ code: 1 })
  // nor what has the name of another one that serves from the folder
  addVersion(path.join(folder, 'models'), '1', {
    edit: (manifest) => {
      manifest['name'] = model
    },
  })
  const taken = await millrace('model', 'push', version, '--pipeline', folder)
  expect(taken).toEqual({ code: 1, output: expect.stringContaining(`${model}/1 is in ${folder}`) })
  expect((await millrace('model', 'list', model)).output).toBe('no versions are registered\n')
  expect(existsSync(path.join(scratch, 'store'))).toBe(false)
})

/** A rollout that serves this version. */
async function inUse(model: string, production: string): Promise<void> {
  const before = { ...process.env }
  Object.assign(process.env, env())
  try {
    await withControlLog(async (control) => {
      const active = { epoch: 1, production, candidate: null, shadow: null, guards: null }
      const value = { step: 'activated', lastEpoch: 1, active, previous: null, proposed: null, evidence: null }
      const basedOn = control.latest('rollout', model)?.revision ?? null
      const entry: Readonly<Record<keyof RolloutEntry, unknown>> = value
      await control.append({ kind: 'rollout', name: model, basedOn, value: entry, actor: 'test', reason: '' })
    })
  } finally {
    process.env = before
  }
}
