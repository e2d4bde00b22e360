import { findVectors, readVectors } from '../../inference/read-vectors.ts'
import type { GuardObserver } from '../../inference/rollout/guards.ts'
import type { Route, ServedVersion } from '../../inference/rollout/routes.ts'
import { createShadow, type ShadowDeps } from '../../inference/rollout/shadow/create-shadow.ts'
import { createScoreColumns, type ShadowTaker } from '../../inference/score-columns.ts'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { openOutcome, type SealedOutcome } from '../../infra/runtime/kafka/outcome.ts'
import type { OutgoingBatch } from '../../infra/runtime/kafka/record-writer.ts'
import type { Started } from '../../infra/runtime/lifecycle/scope.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import type { VectorColumns } from '../../infra/runtime/vectors.ts'
import type { FeatureVector, Prediction } from '../../schemas/generated/records.ts'
import type { CompiledModelChoice } from '../../schemas/pipeline/compiled.ts'
import { memoryBatch } from './memory-kafka.ts'

export const SHADOW_SCHEMA_ID = 77
const SCHEMA_ID = 5
const vectorType = parseAvroSchema(await readContract('feature-vector'), 'feature-vector')
const predictionType = parseAvroSchema(await readContract('prediction'), 'prediction')
const readRecord = predictionType.readerOf(predictionType)

export const predictionIn = (value: Buffer): Prediction => readRecord(value) as Prediction

export interface Shadowing {
  readonly taker: ShadowTaker
  stop(): Promise<void>
  /** What was written, in order. */
  readonly written: OutgoingBatch[]
  /** Rows by what became of them. */
  readonly counts: Map<string, number>
  /** Code of each failure that was logged. */
  readonly logged: string[]
  readonly guarded: { version: string; scores: number[]; rows: number; failed: number; invalid: number }[]
  /** Rows that were dropped, or shown to an end. */
  ended(): number
}

/** A shadow whose topic is an array, and which holds every version unless told otherwise. */
export function shadowing(choice: CompiledModelChoice, change: Partial<ShadowDeps> = {}): Shadowing {
  const written: OutgoingBatch[] = []
  const counts = new Map<string, number>()
  const logged: string[] = []
  const guarded: Shadowing['guarded'] = []
  const count = (what: string, rows: number) => rows > 0 && counts.set(what, (counts.get(what) ?? 0) + rows)
  const silent = { debug: () => {}, info: () => {}, error: () => {} }
  const logger = { ...silent, warn: (fields: object) => void logged.push((fields as { code: string }).code) }
  const guards: GuardObserver = {
    scored: (version, scores, rows, failed, invalid) =>
      void guarded.push({ version, scores: [...scores], rows, failed, invalid }),
  }
  const { value: taker, stop }: Started<ShadowTaker> = createShadow({
    topic: 'flights.shadow',
    schemaId: SHADOW_SCHEMA_ID,
    choice,
    writer: {
      async write(batches) {
        written.push(...batches)
        return batches.map(({ topic, partition }) => ({ topic, partition, baseOffset: 0, appendedAt: 0 }))
      },
    },
    hold: (version) => ({ version, release: () => {} }),
    guards,
    observer: {
      dropped: (_, reason, rows) => void count(reason, rows),
      ended: (_, end, rows) => void count(end, rows),
    },
    limits: { maxRows: 1_000, maxBytes: 2 ** 20 },
    clock: systemClock,
    logger: { ...logger, child: () => ({ ...logger, child: () => logger as never }) },
    ...change,
  })
  const ended = (): number => [...counts.values()].reduce((sum, rows) => sum + rows, 0)
  return { taker, stop, written, counts, logged, guarded, ended }
}

/** The records of a lane under those keys, as scoring has them. */
export function columnsOf(vectors: readonly FeatureVector[], keys: readonly (Buffer | null)[], room: number) {
  const records = vectors.map((vector, row) => ({ key: keys[row] ?? null, value: vectorType.encode(0, vector) }))
  const batch = memoryBatch({ topic: 'flights.features', partition: 3, records })
  const places = findVectors(batch)
  if (places === null) throw new Error('these are no vectors of one feature set')
  return { batch, vectors: readVectors(batch, places, { schemaId: SCHEMA_ID, room }) }
}

export const alone = (primary: ServedVersion): Route => ({ primary, canary: null, shadow: null })

/** What a lane's vectors become while a shadow looks on. */
export async function scoredBeside(
  taker: ShadowTaker,
  choice: CompiledModelChoice,
  route: Route,
  vectors: readonly FeatureVector[],
  keys: readonly (Buffer | null)[],
): Promise<{ readonly outcome: SealedOutcome; readonly vectors: VectorColumns }> {
  const scoring = createScoreColumns({ choice, clock: systemClock, observer: { answered: () => {} }, shadow: taker })
  const lane = columnsOf(vectors, keys, scoring.roomFor(route))
  const outcome = openOutcome(lane.batch, ['predictions'])
  await scoring.score([{ outcome, route, vectors: lane.vectors }], 'predictions')
  return { outcome: outcome.seal(), vectors: lane.vectors }
}
