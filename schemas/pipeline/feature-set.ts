import { createHash } from 'node:crypto'
import type { FeatureSet } from './compiled.ts'

type Features = FeatureSet['features']
type Feature = Features[number]

/**
 * The feature set of these features. Its digest is the SHA-256 (first 32 hex digits) of the JSON
 * `[[name, type], [name, "category", values], …]` in order: what a model trained on one set may not be given another of.
 */
export function featureSetOf(features: Features): FeatureSet {
  const canonical = features.map((f) => (f.type === 'category' ? [f.name, f.type, f.values] : [f.name, f.type]))
  const digest = createHash('sha256').update(JSON.stringify(canonical)).digest('hex').slice(0, 32)
  return { digest, features }
}

/** What a model's features differ in from a pipeline's, a sentence each; empty when they are the same. */
export function explainFeatureSetDifference(pipeline: Features, model: Features): readonly string[] {
  const ours = new Map(pipeline.map((feature) => [feature.name, feature]))
  const theirs = new Map(model.map((feature) => [feature.name, feature]))
  const differences = [
    ...pipeline.filter((f) => !theirs.has(f.name)).map((f) => `the model has no feature ${f.name}`),
    ...model
      .filter((f) => !ours.has(f.name))
      .map((f) => `the model expects a feature ${f.name} that the pipeline lacks`),
  ]
  for (const feature of pipeline) {
    const other = theirs.get(feature.name)
    if (other !== undefined) differences.push(...typeDifference(feature, other))
  }
  if (differences.length > 0) return differences
  const at = pipeline.findIndex((feature, index) => feature.name !== model[index]?.name)
  if (at < 0) return []
  return [
    `the order differs: feature ${at} is ${pipeline[at]?.name} in the pipeline and ${model[at]?.name} in the model`,
  ]
}

function typeDifference(ours: Feature, theirs: Feature): readonly string[] {
  if (ours.type !== theirs.type) {
    return [`feature ${ours.name} is ${ours.type} in the pipeline and ${theirs.type} in the model`]
  }
  if (ours.type !== 'category' || theirs.type !== 'category') return []
  const prefix = `the values of category ${ours.name} differ: `
  const missing = ours.values.filter((value) => !theirs.values.includes(value))
  const extra = theirs.values.filter((value) => !ours.values.includes(value))
  const parts = [
    ...(missing.length > 0 ? [`the model lacks ${list(missing)}`] : []),
    ...(extra.length > 0 ? [`the pipeline lacks ${list(extra)}`] : []),
  ]
  if (parts.length > 0) return [prefix + parts.join(', ')]
  const at = ours.values.findIndex((value, index) => value !== theirs.values[index])
  if (at < 0) return []
  return [`${prefix}value ${at} is ${ours.values[at]} in the pipeline and ${theirs.values[at]} in the model`]
}

function list(values: readonly string[]): string {
  return values.length <= 5 ? values.join(', ') : `${values.slice(0, 5).join(', ')} and ${values.length - 5} more`
}
