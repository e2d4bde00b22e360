import type { ModelVersion } from '../model-version.ts'
import { loopBody, ORDINARY } from './hostile-models.ts'

/** Turns of a loop that changes nothing: some milliseconds for a run of any size. */
const TURNS = 1_000

const { model, golden } = ORDINARY

/** Changes nothing. */
const TURN = loopBody({ operator: 'Add', inputs: ['carried', 'none'], outputs: ['carriedOn'] })

/** Takes its time, and scores the negative of what the ordinary model does. */
export const SLOW: ModelVersion = {
  ...ORDINARY,
  model: {
    ...model,
    nodes: [
      {
        operator: 'Loop',
        inputs: ['turns', '', 'features'],
        outputs: ['looped'],
        attributes: { body: { graph: TURN } },
      },
      { operator: 'Neg', inputs: ['looped'], outputs: ['checked'] },
      ...model.nodes.slice(1),
    ],
    weights: [...model.weights, { name: 'turns', shape: [], values: BigInt64Array.of(BigInt(TURNS)) }],
  },
  golden: golden.map(({ features, outputs }) => ({ features, outputs: outputs.map((output) => -output) })),
  more: { version: 'slow' },
}

/** Scores as the ordinary model does; each row takes as many turns of a loop as its first feature says. */
export const LABORIOUS: ModelVersion = {
  ...ORDINARY,
  model: {
    ...model,
    nodes: [
      { operator: 'Gather', inputs: ['features', 'first'], outputs: ['firsts'], attributes: { axis: 1 } },
      { operator: 'ReduceSum', inputs: ['firsts'], outputs: ['sum'], attributes: { keepdims: 0 } },
      { operator: 'Cast', inputs: ['sum'], outputs: ['turns'], attributes: { to: 7 } },
      {
        operator: 'Loop',
        inputs: ['turns', '', 'features'],
        outputs: ['checked'],
        attributes: { body: { graph: TURN } },
      },
      ...model.nodes.slice(1),
    ],
  },
}
