import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { fitCost } from '../../inference/models/probation/measure-profile.ts'
import {
  DEFAULT_LIMITS,
  type ProbationLimits,
  type ProbationReport,
} from '../../inference/models/probation/probation.ts'
import { createProbation, probe } from '../../inference/models/probation/probe.ts'
import { readLimits } from '../../inference/models/probation/read-limits.ts'
import type { OnnxNode, Weights } from '../../infra/bench/hop/onnx.ts'
import { digestOf, type ModelVersion, writeVersion } from '../support/model-version.ts'
import { CRASHING_AT_LOAD, HANGING, HUNGRY, ORDINARY, POISON } from '../support/onnx/hostile-models.ts'
import { addVersion, type Manifest } from '../support/scoring.ts'

const INPUT = 'features'
const OUTPUT = 'score'
const MODEL_1 = 'infra/sample/flights/models/1'
const QUICK: ProbationLimits = { ...DEFAULT_LIMITS, measure: false, rows: 64 }
const RISKY: ProbationLimits = { ...QUICK, allowed: { controlFlow: true, functions: true } }

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'millrace-probation-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
})

interface Change {
  readonly features?: readonly (number | null)[]
  readonly score?: number
  readonly missing?: 'nan' | 'refuse'
  readonly output?: Readonly<Record<string, unknown>>
  readonly more?: Readonly<Record<string, unknown>>
}

function versionOf(version: ModelVersion, change: Change = {}): string {
  const { features = [1, 2, 3], score = 2, missing = 'refuse', output = {}, more = {} } = change
  const golden = [{ features, outputs: [score] }]
  return writeVersion({
    ...version,
    input: { ...version.input, missing },
    output: { ...version.output, ...output },
    golden,
    more,
  })
}

/** The sample model's manifest for other bytes. */
function versionOfBytes(model: Buffer): string {
  const edit = (manifest: Manifest): void => {
    manifest.sha256 = digestOf(model)
  }
  return addVersion(folder, '1', { model, edit })
}

/** A version of these nodes on three features. */
function versionOfNodes(nodes: readonly OnnxNode[], weights: readonly Weights[] = []): ModelVersion {
  const model = { nodes, weights, input: { name: INPUT, width: 3 }, output: { name: OUTPUT, width: 1 } }
  return { ...ORDINARY, model }
}

async function judge(version: string, limits: ProbationLimits = QUICK): Promise<ProbationReport> {
  const probation = createProbation(limits)
  try {
    return await probation.judge(version)
  } finally {
    await probation.close()
  }
}

const refusalOf = async (version: string, limits?: ProbationLimits) => (await judge(version, limits)).refusal

test('a sound version passes every step, and its cost is measured', async () => {
  const { passed, refusal, profiles, remarks } = await probe(MODEL_1)
  expect({ passed, refusal, remarks }).toEqual({
    passed: ['files', 'structure', 'load', 'batches', 'missing', 'profile'],
    refusal: null,
    remarks: [],
  })
  const [profile] = profiles
  expect(profile?.provider).toBe('cpu')
  for (const part of [profile?.fixedUs, profile?.rowUs]) expect(part).toBeGreaterThan(0)
  expect(profile?.tail).toBeGreaterThanOrEqual(1)
})

test('the largest batch is the one that inference is set to make', () => {
  const { allowed } = DEFAULT_LIMITS
  expect(readLimits({}, allowed)).toEqual(DEFAULT_LIMITS)
  const set = { MILLRACE_INFERENCE_MAX_ROWS: '5000', MILLRACE_INFERENCE_MAX_BYTES: '100000' }
  expect(readLimits(set, allowed)).toMatchObject({ rows: 5_000, batchBytes: 100_000 })
  expect(() => readLimits({ MILLRACE_INFERENCE_MAX_ROWS: '0' }, allowed)).toThrow(/MILLRACE_INFERENCE_MAX_ROWS/)
})

describe('before anything is loaded', () => {
  test('the files must be those of the manifest, and within limits', async () => {
    expect(await refusalOf(folder)).toMatchObject({ step: 'files', code: 'manifest' })
    const version = addVersion(folder, '1')
    expect(await refusalOf(version, { ...QUICK, fileBytes: 1_000 })).toMatchObject({ step: 'files', code: 'size' })
    writeFileSync(path.join(version, 'model.onnx'), 'damaged')
    expect(await refusalOf(version)).toMatchObject({ step: 'files', code: 'digest' })
    rmSync(path.join(version, 'model.onnx'))
    expect(await refusalOf(version)).toMatchObject({ step: 'files', code: 'digest' })
  })

  test.each([
    [
      'no ONNX file at all',
      () => versionOfBytes(Buffer.from('this is no model')),
      'bad_structure',
      'it is no ONNX file',
    ],
    ['an empty file', () => versionOfBytes(Buffer.alloc(0)), 'bad_structure', 'version 0, 0 graphs'],
    ['a loop', () => versionOf(HANGING), 'control_flow', 'it uses Loop, which may run without end'],
    [
      'functions of its own',
      () => versionOf(CRASHING_AT_LOAD),
      'functions',
      'it defines functions of its own: f0, f1, f2',
    ],
  ])('%s is refused', async (_, version, code, message) => {
    expect(await refusalOf(version())).toEqual({
      step: 'structure',
      code,
      message: expect.stringContaining(message),
    })
  })

  test('operators of another domain are refused', async () => {
    const nodes = [{ operator: 'Gelu', domain: 'com.microsoft', inputs: [INPUT], outputs: [OUTPUT] }]
    const refusal = { step: 'structure', code: 'domain', message: expect.stringContaining('Gelu of the domain "com.') }
    expect(await refusalOf(versionOf(versionOfNodes(nodes)))).toEqual(refusal)
  })

  test.each([
    ['a circle', { whenFalse: [0, 0, 0] }, 'is reached from no root'],
    ['a node that is not there', { whenTrue: [7, 0, 0] }, 'leads to 7, which is not there'],
    ['one leaf for both sides', { whenTrue: [2, 0, 0] }, 'roots'],
    ['a node twice', { nodeIds: [0, 1, 1] }, 'node 0/1 is there twice'],
    ['a mode that is none', { modes: ['BRANCH', 'LEAF', 'LEAF'] }, 'has the mode "BRANCH"'],
    ['a feature that is none', { features: [3, 0, 0] }, 'reads feature 3'],
    ['a feature far outside of the row', { features: [-500_000_000, 0, 0] }, 'reads feature -500000000'],
    ['a weight that is no number', { weights: [Number.NaN, 1] }, 'the weight of node 0/1 is NaN'],
    ['too few values', { values: [0] }, '3 nodes and 1 values'],
  ] as const)('trees with %s are refused', async (_, change: Partial<Tree>, message) => {
    expect(await refusalOf(versionOf(treeVersion(change)))).toEqual({
      step: 'structure',
      code: 'trees',
      message: expect.stringContaining(message),
    })
  })

  test('external data must be named by the manifest, and be long enough', async () => {
    const weights = [{ name: 'w', shape: [3, 1], values: Float32Array.of(1, 2, 3), external: 'w.bin' }]
    const nodes = [{ operator: 'MatMul', inputs: [INPUT, 'w'], outputs: [OUTPUT] }]
    const version = { ...versionOfNodes(nodes, weights), golden: [{ features: [1, 1, 1], outputs: [6] }] }
    const beside = { 'w.bin': Buffer.from(Float32Array.of(1, 2, 3).buffer) }
    expect(await refusalOf(writeVersion({ ...version, beside }))).toBeNull()
    expect(await refusalOf(writeVersion(version))).toMatchObject({ code: 'external_data' })
    const outside = versionOfNodes(
      nodes,
      weights.map((each) => ({ ...each, external: '../w.bin' })),
    )
    expect(await refusalOf(writeVersion({ ...outside, beside }))).toMatchObject({
      code: 'external_data',
      message: 'tensor w: its data are in "../w.bin", which the manifest does not name',
    })
  })
})

describe('what a candidate does when it is loaded and run is a refusal, never more', () => {
  test('it crashes at load', async () => {
    const version = versionOf(CRASHING_AT_LOAD, { more: { domains: ['', 'chain'] } })
    const refusal = { step: 'load', code: 'crashed', message: 'the process that tried it was ended by SIGSEGV' }
    expect(await refusalOf(version, RISKY)).toEqual(refusal)
  })

  test('it hangs', async () => {
    const version = versionOf(HANGING, { features: [POISON, 2, 3], score: 6 })
    const refusal = { step: 'load', code: 'timed_out', message: 'it was not through within 8000 ms' }
    expect(await refusalOf(version, { ...RISKY, timeMs: 8_000 })).toEqual(refusal)
  })

  test('it takes more memory than it may', async () => {
    const version = versionOf(HUNGRY, { features: [400_000_000, 0, 2], score: 133_333_334 })
    const refusal = { step: 'load', code: 'out_of_memory', message: expect.stringContaining('420 MB are allowed') }
    expect(await refusalOf(version, { ...QUICK, memoryBytes: 440_000_000 })).toEqual(refusal)
  })

  test('it answers a golden row otherwise', async () => {
    expect(await refusalOf(versionOf(ORDINARY, { score: 3 }))).toEqual({
      step: 'load',
      code: 'invalid_model',
      message: expect.stringContaining('golden[0].outputs[0]: 3 is expected, the model answers 2'),
    })
  })

  test('it says that it takes missing values, and answers with none', async () => {
    expect(await refusalOf(versionOf(ORDINARY, { missing: 'nan' }))).toEqual({
      step: 'missing',
      code: 'outputs',
      message: 'input.missing is nan, but with features missing output 0 of row 0 is NaN',
    })
  })

  test('an output out of range', async () => {
    expect(await refusalOf(versionOf(ORDINARY, { output: { range: [0, 1] } }))).toMatchObject({
      step: 'batches',
      code: 'outputs',
    })
  })

  test('after one that killed it, the next is tried in another process', async () => {
    const probation = createProbation(RISKY)
    onTestFinished(() => probation.close())
    const bad = versionOf(CRASHING_AT_LOAD, { more: { domains: ['', 'chain'] } })
    expect((await probation.judge(bad)).refusal?.code).toBe('crashed')
    expect((await probation.judge(MODEL_1)).refusal).toBeNull()
    const copy = path.join(folder, 'copy')
    cpSync(MODEL_1, copy, { recursive: true })
    expect((await probation.judge(copy)).refusal).toBeNull()
  })
})

test('the cost of a run is fitted to the medians', () => {
  const samples = [1, 4, 16, 64, 256].map((rows) => ({ rows, medianUs: 12 + 3.5 * rows }))
  expect(fitCost(samples)).toEqual({ fixedUs: 12, rowUs: 3.5 })
  const steep = [1, 10, 100].map((rows) => ({ rows, medianUs: rows ** 1.2 }))
  expect(fitCost(steep).fixedUs).toBeGreaterThanOrEqual(0)
  expect(fitCost([{ rows: 1, medianUs: 40 }])).toEqual({ fixedUs: 40, rowUs: 0 })
})

interface Tree {
  readonly nodeIds: readonly number[]
  readonly features: readonly number[]
  readonly values: readonly number[]
  readonly modes: readonly string[]
  readonly whenTrue: readonly number[]
  readonly whenFalse: readonly number[]
  readonly weights: readonly number[]
}

const TREE: Tree = {
  nodeIds: [0, 1, 2],
  features: [0, 0, 0],
  values: [1, 0, 0],
  modes: ['BRANCH_LEQ', 'LEAF', 'LEAF'],
  whenTrue: [1, 0, 0],
  whenFalse: [2, 0, 0],
  weights: [1, 2],
}

/** One split and two leaves. */
function treeVersion(change: Partial<Tree>): ModelVersion {
  const { nodeIds, features, values, modes, whenTrue, whenFalse, weights } = { ...TREE, ...change }
  const attributes = {
    n_targets: 1,
    nodes_treeids: [0, 0, 0],
    nodes_nodeids: nodeIds,
    nodes_featureids: features,
    nodes_values: { floats: values },
    nodes_modes: modes,
    nodes_truenodeids: whenTrue,
    nodes_falsenodeids: whenFalse,
    target_treeids: [0, 0],
    target_nodeids: [1, 2],
    target_ids: [0, 0],
    target_weights: { floats: weights },
  }
  const node = {
    operator: 'TreeEnsembleRegressor',
    domain: 'ai.onnx.ml',
    inputs: [INPUT],
    outputs: [OUTPUT],
    attributes,
  }
  return versionOfNodes([node])
}
