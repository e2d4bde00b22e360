import { type ModelSession, openModelSession } from '../../../inference/models/model-session.ts'
import { parseAvroSchema } from '../../../infra/runtime/avro/avro-type.ts'
import type { LogReader } from '../../../infra/runtime/kafka/log-reader.ts'
import { sliceAt } from '../../../infra/runtime/kafka/record-batches/columns.ts'
import type { RecordSet } from '../../../infra/runtime/kafka/record-batches/decode-record-set.ts'
import { readContract } from '../../../infra/runtime/stage-contracts.ts'
import type { Prediction } from '../../../schemas/generated/records.ts'
import type { ModelManifest } from '../../../schemas/pipeline/manifest.ts'

/** What the predictions of a run say of who made them. */
export interface AnswersVerdict {
  /** Predictions by version. */
  readonly versions: Readonly<Record<string, number>>
  /** Predictions of a version or digest that is none of the run's. */
  readonly strange: number
  /** Predictions that are not what the version that they name answers to their features. */
  readonly mistaken: number
  /** Micro-batches that one version did not score whole: the rows that name a version, a time and a size are no multiple of the size. */
  readonly mixed: number
  readonly microBatches: number
  /** Most changes of the version along one lane. */
  readonly mostChanges: number
}

const TOLERANCE = 1e-5

/**
 * Reads every prediction, has each scored again by the version that it names, and tells `visit` when its event and it were appended
 * (epoch ms, by the broker).
 */
export async function checkAnswers(
  reader: LogReader,
  topic: { readonly name: string; readonly partitions: number },
  manifests: readonly ModelManifest[],
  visit: (eventAt: number, predictedAt: number) => void,
): Promise<AnswersVerdict> {
  const type = parseAvroSchema(await readContract('prediction'), 'prediction')
  const read = type.readerOf(type)
  const sessions = new Map<string, ModelSession>()
  for (const manifest of manifests) sessions.set(manifest.version, await openModelSession(manifest))
  const versions: Record<string, number> = {}
  const rowsOfRuns = new Map<string, { readonly size: number; rows: number }>()
  let strange = 0
  let mistaken = 0
  let mostChanges = 0

  /** Rows that differ from what the model answers. */
  async function again(session: ModelSession, predictions: readonly Prediction[]): Promise<number> {
    const { width } = session.manifest.output
    const outputs = await session.run(Float32Array.from(predictions.flatMap(({ features }) => features)))
    const isSame = (row: number, at: number, value: number): boolean =>
      Math.abs(value - (outputs[row * width + at] as number)) <= TOLERANCE
    return predictions.filter((each, row) => !each.outputs.every((value, at) => isSame(row, at, value))).length
  }

  async function check(set: RecordSet): Promise<readonly Prediction[]> {
    const predictions = Array.from(
      { length: set.length },
      (_, row) => read(sliceAt(set.values, row) as Buffer) as Prediction,
    )
    for (const [row, { ingested_at }] of predictions.entries()) visit(ingested_at, set.timestamps[row] as number)
    for (const { model_version: version, scored_at, batch_rows: size } of predictions) {
      versions[version] = (versions[version] ?? 0) + 1
      const run = `${scored_at} ${size} ${version}`
      const known = rowsOfRuns.get(run)
      if (known === undefined) rowsOfRuns.set(run, { size, rows: 1 })
      else known.rows++
    }
    for (const [version, own] of Map.groupBy(predictions, ({ model_version }) => model_version)) {
      const session = sessions.get(version)
      const known = own.filter(({ model_digest }) => model_digest === session?.manifest.sha256)
      strange += own.length - known.length
      if (session !== undefined && known.length > 0) mistaken += await again(session, known)
    }
    return predictions
  }

  for (let partition = 0; partition < topic.partitions; partition++) {
    const { start, end } = await reader.range(topic.name, partition)
    let changes = -1
    let last: string | null = null
    for await (const set of reader.read(topic.name, partition, start, end)) {
      for (const { model_version } of await check(set)) {
        if (model_version !== last) changes++
        last = model_version
      }
    }
    mostChanges = Math.max(mostChanges, changes)
  }
  for (const session of sessions.values()) await session.release()
  const runs = [...rowsOfRuns.values()]
  return {
    ...{ versions, strange, mistaken, mostChanges },
    mixed: runs.filter(({ size, rows }) => rows % size !== 0).length,
    microBatches: runs.reduce((sum, { size, rows }) => sum + rows / size, 0),
  }
}
