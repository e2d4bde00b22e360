import type { ClickHouseClient } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import type { RequestId } from '../../schemas/request-id.ts'
import { DUPLICATE, ENDING_KINDS, type StoredRejection } from '../../schemas/stored-answer.ts'
import { stageTopic } from '../../schemas/topics.ts'
import { type EndedEvent, predictedEvent, rejectedEvent } from './ended-event.ts'
import type { ViewedPrediction } from './prediction-view.ts'

/** How events ended, asked of ClickHouse. Calls reject with `clickhouse_unavailable` (retry). */
export interface StoredEvents {
  /** The event with that id: of the generation, if there is one; else of an earlier one. */
  at(id: RequestId, generation: string): Promise<EndedEvent | null>
  /** The last one before `offset` that has the event id and was not left out as a repetition. */
  before(
    partition: number,
    offset: number,
    event: { readonly generation: string; readonly tenant: string; readonly eventId: string },
  ): Promise<EndedEvent | null>
}

/*
 * Indexes may be used with FINAL: copies of a row have the same coordinates. Predictions are looked for in one day's partition by
 * offset, letters in one lane of the sorting key.
 */
const PREDICTION = `event_id, tenant, toString(origin_generation) AS generation, toString(origin_offset) AS offset, degraded,
  toString(model) AS model, toString(model_version) AS model_version, toString(model_digest) AS model_digest,
  toString(role) AS role, score, outputs, label, toString(provider) AS provider, toString(answer) AS answer,
  toString(toUnixTimestamp64Milli(event_time)) AS event_ms, toString(toUnixTimestamp64Milli(ingested_at)) AS ingested_ms,
  toString(toUnixTimestamp64Milli(scored_at)) AS scored_ms`
const SETTINGS = 'SETTINGS use_skip_indexes_if_final = 1, do_not_merge_across_partitions_select_final = 1'
const LETTER = `tenant, event_id, toString(reason) AS reason, message, toString(origin_generation) AS generation,
  toString(origin_offset) AS offset, toString(toUnixTimestamp64Milli(failed_at)) AS failed_ms`
const KINDS = [...ENDING_KINDS].map((kind) => `'${kind}'`).join(', ')

interface PredictionRow
  extends Pick<
    ViewedPrediction,
    'event_id' | 'tenant' | 'degraded' | 'model' | 'model_version' | 'model_digest' | 'label'
  > {
  readonly generation: string
  readonly offset: string
  readonly role: ViewedPrediction['role']
  readonly provider: ViewedPrediction['provider']
  readonly answer: ViewedPrediction['answer']
  /** Text when it is not finite. */
  readonly score: number | string
  readonly outputs: readonly (number | string)[]
  readonly event_ms: string
  readonly ingested_ms: string
  readonly scored_ms: string
}

interface LetterRow extends Pick<StoredRejection, 'tenant' | 'event_id' | 'reason' | 'message' | 'generation'> {
  readonly offset: string
  readonly failed_ms: string
}

export interface StoredEventsOptions {
  readonly clickhouse: Pick<ClickHouseClient, 'rows'>
  readonly pipeline: string
  readonly eventsTopic: string
  /** An earlier event with the same id is looked for so many offsets back. */
  readonly repeatWindow: number
}

export function createStoredEvents(options: StoredEventsOptions): StoredEvents {
  const { clickhouse, pipeline, eventsTopic, repeatWindow } = options
  const topics = { pipeline, events: eventsTopic, features: stageTopic(pipeline, 'features') }

  async function prediction(partition: number, where: string, parameters: object): Promise<EndedEvent | null> {
    const [row] = await clickhouse.rows<PredictionRow>(
      `SELECT ${PREDICTION} FROM predictions FINAL
       WHERE pipeline = {pipeline:String} AND kafka_partition = {partition:Int32} AND role != 'shadow' AND ${where} LIMIT 1 ${SETTINGS}`,
      { pipeline, partition, ...parameters },
    )
    return row === undefined ? null : predictedEvent(pipeline, partition, predictionOf(row))
  }

  async function letter(partition: number, where: string, parameters: object): Promise<EndedEvent | null> {
    const [row] = await clickhouse.rows<LetterRow>(
      `SELECT ${LETTER} FROM dead_letters FINAL
       WHERE pipeline = {pipeline:String} AND topic IN ({events:String}, {features:String}) AND partition = {partition:Int32}
         AND kind IN (${KINDS}) AND ${where} LIMIT 1 ${SETTINGS}`,
      { ...topics, partition, ...parameters },
    )
    if (row === undefined) return null
    return rejectedEvent(Number(row.offset), { ...row, failed_at: Number(row.failed_ms) })
  }

  return {
    async at({ dayMs, partition, offset }, generation) {
      const day = new Date(dayMs).toISOString().slice(0, 10)
      const parameters = { day, offset, generation }
      const order = 'ORDER BY origin_generation = {generation:String} DESC'
      const found = await Promise.all([
        prediction(
          partition,
          `toDate(ingested_at) = toDate({day:String}) AND origin_offset = {offset:UInt64} ${order}`,
          parameters,
        ),
        letter(
          partition,
          `origin_offset = {offset:Int64} AND failed_at >= toDateTime64({day:String}, 3, 'UTC') ${order}`,
          parameters,
        ),
      ])
      return found.find((each) => each?.generation === generation) ?? found[0] ?? found[1]
    },

    async before(partition, offset, event) {
      const parameters = { ...event, from: Math.max(0, offset - repeatWindow), offset }
      const sameEvent = (type: 'UInt64' | 'Int64') =>
        `tenant = {tenant:String} AND event_id = {eventId:String} AND origin_generation = {generation:String}
         AND origin_offset >= {from:${type}} AND origin_offset < {offset:${type}}`
      const last = 'ORDER BY origin_offset DESC'
      const [predicted, rejected] = await Promise.all([
        prediction(partition, `${sameEvent('UInt64')} ${last}`, parameters),
        letter(partition, `${sameEvent('Int64')} AND reason != '${DUPLICATE}' ${last}`, parameters),
      ])
      return (rejected?.offset ?? -1) > (predicted?.offset ?? -1) ? rejected : predicted
    },
  }
}

/** Numbers as Avro reads them: JSON has the shortest text of a float32, which as a double is another number. */
function predictionOf(row: PredictionRow): Parameters<typeof predictedEvent>[2] {
  return {
    ...row,
    origin_generation: row.generation,
    origin_offset: Number(row.offset),
    score: Math.fround(Number(row.score)),
    outputs: row.outputs.map((output) => Math.fround(Number(output))),
    event_time: Number(row.event_ms),
    ingested_at: Number(row.ingested_ms),
    scored_at: Number(row.scored_ms),
  }
}
