import type { OnnxAttribute, OnnxNode } from './onnx-structure.ts'

/** A tree ensemble's nodes side by side, whatever version of the operator it is written in. */
interface Forest {
  readonly nodes: number
  /** What a node is called. */
  keyOf(at: number): string
  /** Position of each node's children; empty for a leaf. */
  readonly children: readonly (readonly number[])[]
  readonly roots: readonly number[]
}

const NONE: OnnxAttribute = { ints: [], floats: [], strings: [], text: '', tensor: null }
const MODES: ReadonlySet<string> = new Set(
  'BRANCH_LEQ BRANCH_LT BRANCH_GTE BRANCH_GT BRANCH_EQ BRANCH_NEQ BRANCH_MEMBER LEAF'.split(' '),
)
/** TreeEnsemble (ai.onnx.ml 5) writes its modes as numbers, and has no leaves among its nodes. */
const BRANCHES = 7
/** No row is that wide, where it is not known how wide it is. */
const MOST = 65_536

/**
 * What is wrong with a tree ensemble, that a runtime would follow in a circle or read outside its memory; null when every
 * node is reached from a root on one way, and every number is one. `width` is the number of features, when it is known.
 */
export function treeProblem(node: OnnxNode, width: number | null): string | null {
  const of = (name: string): OnnxAttribute => node.attributes.get(name) ?? NONE
  if (node.operator === 'TreeEnsemble') return leafForestProblem(of, width)
  if (node.operator !== 'TreeEnsembleClassifier' && node.operator !== 'TreeEnsembleRegressor') return null
  return nodeForestProblem(of, width, node.operator === 'TreeEnsembleClassifier' ? 'class' : 'target')
}

/** Position of each node, by its tree and number. */
type Places = Map<number, Map<number, number>>
type Attributes = (name: string) => OnnxAttribute

/** ai.onnx.ml 1 to 3: leaves are nodes, a node is named by tree and number, children by number in the same tree. */
function nodeForestProblem(of: Attributes, width: number | null, what: 'class' | 'target'): string | null {
  const treeIds = of('nodes_treeids').ints
  const nodeIds = of('nodes_nodeids').ints
  const modes = of('nodes_modes').strings
  const values = of('nodes_values').floats
  const [whenTrue, whenFalse] = [of('nodes_truenodeids').ints, of('nodes_falsenodeids').ints]
  const features = of('nodes_featureids').ints
  const count = nodeIds.length
  if (count === 0) return 'it has no nodes'
  for (const [name, { length }] of Object.entries({ treeIds, modes, whenTrue, whenFalse, features })) {
    if (length !== count) return `${count} nodes and ${length} ${name}`
  }
  if (values.length !== count && of('nodes_values_as_tensor').tensor === null) {
    return `${count} nodes and ${values.length} values`
  }
  const keyOf = (at: number): string => `${treeIds[at]}/${nodeIds[at]}`
  const places: Places = new Map()
  for (let at = 0; at < count; at++) {
    const [tree, id] = [treeIds[at] ?? 0, nodeIds[at] ?? 0]
    const ofTree = places.get(tree) ?? new Map<number, number>()
    if (ofTree.has(id)) return `node ${keyOf(at)} is there twice`
    places.set(tree, ofTree.set(id, at))
    if (!MODES.has(modes[at] ?? '')) return `node ${keyOf(at)} has the mode ${JSON.stringify(modes[at])}`
    if (Number.isNaN(values[at])) return `node ${keyOf(at)} compares with no number`
  }
  const children: (readonly number[])[] = []
  const isChild = new Uint8Array(count)
  for (let at = 0; at < count; at++) {
    if (modes[at] === 'LEAF') {
      children.push([])
      continue
    }
    const feature = features[at] ?? -1
    if (!isIndex(feature, width)) return `node ${keyOf(at)} reads feature ${feature}`
    const both: number[] = []
    for (const id of [whenTrue[at] ?? -1, whenFalse[at] ?? -1]) {
      const child = places.get(treeIds[at] ?? 0)?.get(id)
      if (child === undefined) return `node ${keyOf(at)} leads to ${id}, which is not there`
      both.push(child)
      isChild[child] = 1
    }
    children.push(both)
  }
  const roots = children.flatMap((_, at) => (isChild[at] === 0 ? at : []))
  if (roots.length !== places.size) return `${places.size} trees and ${roots.length} roots`
  return walkProblem({ nodes: count, keyOf, children, roots }) ?? weightProblem(of, what, places)
}

function weightProblem(of: Attributes, what: 'class' | 'target', places: Places): string | null {
  const treeIds = of(`${what}_treeids`).ints
  const nodeIds = of(`${what}_nodeids`).ints
  const ids = of(`${what}_ids`).ints
  const weights = of(`${what}_weights`).tensor ?? of(`${what}_weights`).floats
  const outputs =
    what === 'class' ? Math.max(of('classlabels_int64s').ints.length, of('classlabels_strings').strings.length) : null
  if (nodeIds.length !== treeIds.length || ids.length !== treeIds.length) {
    return `${treeIds.length} weights, ${nodeIds.length} nodes and ${ids.length} outputs for them`
  }
  if (weights.length !== treeIds.length && of(`${what}_weights_as_tensor`).tensor === null) {
    return `${treeIds.length} nodes with a weight, and ${weights.length} weights`
  }
  for (let at = 0; at < treeIds.length; at++) {
    const keyOf = (): string => `${treeIds[at]}/${nodeIds[at]}`
    const isThere = places.get(treeIds[at] ?? 0)?.has(nodeIds[at] ?? 0) === true
    if (!isThere) return `there is a weight for ${keyOf()}, which is not there`
    if (!isIndex(ids[at] ?? -1, outputs)) return `node ${keyOf()} gives output ${ids[at]}`
    if (!Number.isFinite(weights[at] ?? 0)) return `the weight of node ${keyOf()} is ${weights[at]}`
  }
  return null
}

/** ai.onnx.ml 5: inner nodes and leaves are apart, and a child is a position in one of the two. */
function leafForestProblem(of: Attributes, width: number | null): string | null {
  const roots = of('tree_roots').ints
  const features = of('nodes_featureids').ints
  const count = features.length
  const leaves = of('leaf_targetids').ints.length
  const modes = of('nodes_modes').tensor
  const sides = [
    { ids: of('nodes_truenodeids').ints, isLeaf: of('nodes_trueleafs').ints },
    { ids: of('nodes_falsenodeids').ints, isLeaf: of('nodes_falseleafs').ints },
  ]
  if (roots.length === 0 || leaves === 0) return 'it has no trees'
  if (modes !== null && (modes.length !== count || modes.some((mode) => mode >= BRANCHES))) return 'its modes are none'
  for (const { ids, isLeaf } of sides) {
    if (ids.length !== count || isLeaf.length !== count) return `${count} nodes and ${ids.length} children of them`
  }
  const children: number[][] = Array.from({ length: count + leaves }, () => [])
  for (let at = 0; at < count; at++) {
    if (!isIndex(features[at] ?? -1, width)) return `node ${at} reads feature ${features[at]}`
    for (const { ids, isLeaf } of sides) {
      const id = ids[at] ?? -1
      if (!isIndex(id, isLeaf[at] === 1 ? leaves : count)) return `node ${at} leads to ${id}, which is not there`
      // a tree of one leaf is a node whose two sides are that leaf
      const child = isLeaf[at] === 1 ? count + id : id
      if (!children[at]?.includes(child)) children[at]?.push(child)
    }
  }
  if (!roots.every((root) => isIndex(root, count))) return 'a tree begins at a node that is not there'
  return walkProblem({ nodes: children.length, keyOf: String, children, roots })
}

/** Every node must be reached once. */
function walkProblem({ nodes, keyOf, children, roots }: Forest): string | null {
  const seen = new Uint8Array(nodes)
  const ahead = [...roots]
  let reached = 0
  for (let at = ahead.pop(); at !== undefined; at = ahead.pop()) {
    if (seen[at] === 1) return `node ${keyOf(at)} is reached on two ways`
    seen[at] = 1
    reached++
    ahead.push(...(children[at] ?? []))
  }
  if (reached === nodes) return null
  return `node ${keyOf(seen.indexOf(0))} is reached from no root`
}

/** `size` null = not known. */
function isIndex(value: number, size: number | null): boolean {
  return Number.isInteger(value) && value >= 0 && value < (size ?? MOST)
}
