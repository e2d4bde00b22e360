import type { Matrix, OnnxGraph, OnnxNode, Weights } from '../../../infra/bench/hop/onnx.ts'
import { float32, type ModelVersion } from '../model-version.ts'

/** What the first feature of a row is to set a model off. */
export const POISON = 13
export const FEATURES = 3

const IN: Matrix = { name: 'features', width: FEATURES }
const OUT: Matrix = { name: 'score', width: 1 }
/** Features of the golden row; its score is their mean. */
const GOLDEN = [1, 2, 3]

function version(model: ModelVersion['model'], score = 2): ModelVersion {
  return {
    model,
    input: { tensor: IN.name, features: float32('a', 'b', 'c') },
    output: { tensor: OUT.name, width: 1 },
    golden: [{ features: GOLDEN, outputs: [score] }],
  }
}

/** A row's score is the mean of its features, which these nodes hand on as `checked`. */
function mean(nodes: readonly OnnxNode[]): OnnxGraph {
  const reduce = { axes: [1], keepdims: 1 }
  return {
    nodes: [...nodes, { operator: 'ReduceMean', inputs: ['checked'], outputs: [OUT.name], attributes: reduce }],
    weights: [
      { name: 'poison', shape: [], values: Float32Array.of(POISON) },
      { name: 'none', shape: [], values: Float32Array.of(0) },
      integer('first', 0),
      integer('poisonAndOne', POISON + 1),
      integer('least', -(2 ** 63)),
    ],
    input: IN,
    output: OUT,
  }
}

const integer = (name: string, value: number): Weights => ({
  name,
  shape: [1],
  values: BigInt64Array.of(BigInt(value)),
})

const FIRSTS: OnnxNode = {
  operator: 'Gather',
  inputs: [IN.name, 'first'],
  outputs: ['firsts'],
  attributes: { axis: 1 },
}

/** Scores whatever it is given. */
export const ORDINARY = version(mean([{ operator: 'Identity', inputs: [IN.name], outputs: ['checked'] }]))

/** The body of a loop that goes on for as long as it may; `turn` makes `carriedOn` of `carried`, which are rows. */
export const loopBody = (turn: OnnxNode): OnnxGraph => ({
  nodes: [{ operator: 'Identity', inputs: ['going'], outputs: ['goesOn'] }, turn],
  weights: [],
  input: [
    { name: 'turn', scalar: 'int64' },
    { name: 'going', scalar: 'bool' },
    { name: 'carried', width: FEATURES },
  ],
  output: [
    { name: 'goesOn', scalar: 'bool' },
    { name: 'carriedOn', width: FEATURES },
  ],
})

const ENDLESS = loopBody({ operator: 'Identity', inputs: ['carried'], outputs: ['carriedOn'] })

/** Loops for ever when a row is poisoned. */
export const HANGING = version(
  mean([
    FIRSTS,
    { operator: 'Equal', inputs: ['firsts', 'poison'], outputs: ['equal'] },
    { operator: 'Cast', inputs: ['equal'], outputs: ['counted'], attributes: { to: 1 } },
    { operator: 'ReduceMax', inputs: ['counted'], outputs: ['most'], attributes: { keepdims: 0 } },
    { operator: 'Cast', inputs: ['most'], outputs: ['isPoisoned'], attributes: { to: 9 } },
    {
      operator: 'Loop',
      inputs: ['', 'isPoisoned', IN.name],
      outputs: ['checked'],
      attributes: { body: { graph: ENDLESS } },
    },
  ]),
)

/** A tree with a branch that leads back: followed for ever when a row is poisoned. */
export const CIRCLING = version({
  nodes: [
    {
      operator: 'TreeEnsembleRegressor',
      domain: 'ai.onnx.ml',
      inputs: [IN.name],
      outputs: [OUT.name],
      attributes: {
        n_targets: 1,
        nodes_treeids: [0, 0, 0, 0, 0, 0],
        nodes_nodeids: [0, 1, 2, 3, 4, 5],
        nodes_modes: ['BRANCH_LEQ', 'LEAF', 'BRANCH_LEQ', 'LEAF', 'BRANCH_LEQ', 'LEAF'],
        nodes_featureids: [0, 0, 0, 0, 0, 0],
        nodes_values: { floats: [POISON - 1, 0, 1e9, 0, 1e9, 0] },
        nodes_truenodeids: [1, 0, 4, 0, 2, 0],
        nodes_falsenodeids: [2, 0, 3, 0, 5, 0],
        nodes_hitrates: { floats: [1, 1, 1, 1, 1, 1] },
        nodes_missing_value_tracks_true: [0, 0, 0, 0, 0, 0],
        target_treeids: [0, 0, 0],
        target_nodeids: [1, 3, 5],
        target_ids: [0, 0, 0],
        target_weights: { floats: [2, 3, 4] },
      },
    },
  ],
  weights: [],
  input: IN,
  output: OUT,
})

/** Ends the process with SIGFPE when a row is poisoned: the least int64 is divided by -1, which x86 processors trap. */
export const CRASHING = version(
  mean([
    FIRSTS,
    { operator: 'Cast', inputs: ['firsts'], outputs: ['ids'], attributes: { to: 7 } },
    { operator: 'Sub', inputs: ['ids', 'poisonAndOne'], outputs: ['divisors'] },
    { operator: 'Div', inputs: ['least', 'divisors'], outputs: ['quotients'] },
    { operator: 'Cast', inputs: ['quotients'], outputs: ['large'], attributes: { to: 1 } },
    { operator: 'Mul', inputs: ['large', 'none'], outputs: ['zeros'] },
    { operator: 'Add', inputs: [IN.name, 'zeros'], outputs: ['checked'] },
  ]),
)

/** Takes memory for as many float32 as the largest first feature of its rows says. */
export const HUNGRY = version(
  mean([
    FIRSTS,
    { operator: 'ReduceMax', inputs: ['firsts'], outputs: ['most'], attributes: { keepdims: 0, axes: [0, 1] } },
    { operator: 'Cast', inputs: ['most'], outputs: ['size'], attributes: { to: 7 } },
    { operator: 'Unsqueeze', inputs: ['size', 'first'], outputs: ['shape'] },
    { operator: 'Expand', inputs: ['none', 'shape'], outputs: ['large'] },
    { operator: 'ReduceMin', inputs: ['large'], outputs: ['zero'], attributes: { keepdims: 0 } },
    { operator: 'Add', inputs: [IN.name, 'zero'], outputs: ['checked'] },
  ]),
)

const EMBEDDED = 100

/** A row's score is looked up by its first feature, one more than that. Refuses a batch with a row that is not below 100. */
export const REFUSING = version({
  nodes: [
    FIRSTS,
    { operator: 'Cast', inputs: ['firsts'], outputs: ['ids'], attributes: { to: 7 } },
    { operator: 'Gather', inputs: ['table', 'ids'], outputs: [OUT.name], attributes: { axis: 0 } },
  ],
  weights: [
    integer('first', 0),
    { name: 'table', shape: [EMBEDDED], values: Float32Array.from({ length: EMBEDDED }, (_, id) => id + 1) },
  ],
  input: IN,
  output: OUT,
})

const CHAIN = 3_000

/** Ends the process that loads it with SIGSEGV: functions call one another, which the runtime unfolds by recursion. */
export const CRASHING_AT_LOAD: ModelVersion = {
  ...version({
    ...mean([{ operator: 'f0', domain: 'chain', inputs: [IN.name], outputs: ['checked'] }]),
    functions: Array.from({ length: CHAIN }, (_, at) => ({
      name: `f${at}`,
      domain: 'chain',
      inputs: ['x'],
      outputs: ['y'],
      nodes: [
        at + 1 === CHAIN
          ? { operator: 'Identity', inputs: ['x'], outputs: ['y'] }
          : { operator: `f${at + 1}`, domain: 'chain', inputs: ['x'], outputs: ['y'] },
      ],
    })),
  }),
  more: { domains: ['', 'chain'] },
}
