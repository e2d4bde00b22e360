import { REPLAY_OF_HEADER } from '../../../schemas/headers.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import type { SchemaRegistry } from '../../runtime/avro/schema-registry.ts'
import type { ClickHouseClient } from '../../runtime/clickhouse/clickhouse-client.ts'
import type { LogReader } from '../../runtime/kafka/log-reader.ts'
import type { RecordSet } from '../../runtime/kafka/record-batches/decode-record-set.ts'
import { headerAt } from '../../runtime/kafka/record-batches/record-headers.ts'
import { createEventLedger, type EventAccount, ORIGIN, type OriginColumns } from './event-ledger.ts'
import { createFindings, type Example, type FaultCounts } from './findings.ts'
import type { Layouts } from './layouts.ts'
import { auditTopics, type LanePlan, type Span } from './plan.ts'
import { type Letter, originsOf, readLetters } from './read-letters.ts'
import { readOrigins, schemaIdsOf } from './read-origins.ts'
import { createStoreLedger, type StoreAccount, type StoreLedger } from './store-ledger.ts'
import { type Copies, readStored } from './stored-rows.ts'
import { supersededLabels } from './superseded-labels.ts'

export interface LaneSources {
  readonly pipeline: CompiledPipeline
  readonly reader: LogReader
  readonly registry: SchemaRegistry
  /** Null = not to be asked: the second ledger is left out. */
  readonly clickhouse: ClickHouseClient | null
  /** Topic ids. */
  readonly generations: ReadonlyMap<string, string>
  readonly layouts: { readonly outputs: Layouts; readonly predictions: Layouts; readonly letters: Layouts }
  readonly maxExamples: number
}

export interface LetterCount {
  readonly stage: string
  readonly reason: string
  readonly count: number
}

export interface StoreReport extends StoreAccount, Span {
  readonly faults: FaultCounts
  readonly copies: Copies
}

export interface LaneReport {
  readonly plan: LanePlan
  readonly events: EventAccount & { readonly faults: FaultCounts }
  /** Of the audited events. */
  readonly letters: readonly LetterCount[]
  /** Null without ClickHouse. */
  readonly predictions: StoreReport | null
  /** Null also for a pipeline without labels. */
  readonly labels: StoreReport | null
  readonly examples: readonly Example[]
}

const REPLAY_OF = Buffer.from(REPLAY_OF_HEADER)

/** Reads what the logs and ClickHouse hold of one lane, and says what does not add up. */
export async function auditLane(sources: LaneSources, plan: LanePlan): Promise<LaneReport> {
  const { pipeline, reader, layouts, generations, maxExamples } = sources
  const topics = auditTopics(pipeline)
  const { partition, committed } = plan
  const generation = generations.get(topics.events) ?? ''
  const generationBytes = Buffer.from(generation)
  const findings = {
    events: createFindings(partition, maxExamples),
    predictions: createFindings(partition, maxExamples),
    labels: createFindings(partition, maxExamples),
  }
  const events = createEventLedger(plan.events, topics, findings.events, maxExamples)
  const storeOf = (topic: string, span: Span, name: 'predictions' | 'labels') =>
    createStoreLedger(span, { topic, deadLetters: topics.deadLetters }, findings[name])
  const predictions = storeOf(topics.predictions, plan.storedPredictions, 'predictions')
  const labels = topics.labels === null ? null : storeOf(topics.labels, plan.storedLabels, 'labels')
  const readInput = (topic: string, { from, to }: Span): AsyncIterable<RecordSet> =>
    reader.read(topic, partition, from, to, { isolation: 'read_committed' })
  // our own outputs are no transactions: what somebody else has aborted in there is to be seen
  const readOutput = (topic: string, { from, to }: Span): AsyncIterable<RecordSet> =>
    reader.read(topic, partition, from, to)

  for await (const set of readInput(topics.events, plan.events)) {
    events.events(set.offsets, set.length)
    for (let row = 0; row < set.length; row++) {
      if ((set.headers.lengths[row] as number) <= 0) continue
      const replayOf = headerAt(set, row, REPLAY_OF)
      if (replayOf !== undefined) events.replay(set.offsets[row] as number, replayOf?.toString() ?? '')
    }
  }
  let firstVector: Vector | null = null
  for await (const set of readOutput(topics.features, plan.features)) {
    await layouts.outputs.prepare(schemaIdsOf(set))
    const rows = readOrigins(set, generationBytes, layouts.outputs.known, false)
    firstVector ??= firstKnown(rows)
    events.features(rows, committed.inference)
  }
  for await (const set of readOutput(topics.predictions, plan.predictions)) {
    await layouts.predictions.prepare(schemaIdsOf(set))
    const rows = readOrigins(set, generationBytes, layouts.predictions.known, true)
    predictions.records(set.offsets, set.length)
    events.predictions(rows, predictions.repeated)
  }
  const letters = createLetterCounts(generation, plan.events)
  let lost = NOTHING_LOST
  for await (const set of readOutput(topics.deadLetters, plan.deadLetters)) {
    await layouts.letters.prepare(schemaIdsOf(set))
    const known: Letter[] = []
    for (const letter of readLetters(set, layouts.letters.known)) {
      if (typeof letter === 'number') {
        findings.events.add(
          'foreign',
          topics.deadLetters,
          letter,
          'not a dead letter of ours: its bytes cannot be read as one',
        )
        continue
      }
      known.push(letter)
      if (letter.sourceGeneration !== generations.get(letter.topic)) continue
      if (letter.kind === 'retention_lost' && letter.topic === topics.features) lost = lostBefore(firstVector, letter)
      if (letter.kind !== 'unstored') continue
      const store = letter.topic === topics.predictions ? predictions : letter.topic === topics.labels ? labels : null
      store?.unstored(letter.sourceOffset, letter.offset)
    }
    letters.add(known)
    for (const [stage, group] of Map.groupBy(known, ({ stage }) => stage)) {
      events.deadLetters(stage, originsOf(group, generation))
    }
  }
  const account = events.close({ processedBelow: committed.processors, lost })

  const stores = sources.clickhouse === null ? null : await auditStores(sources.clickhouse)
  return {
    plan,
    events: { ...account, faults: findings.events.counts },
    letters: letters.counts(),
    predictions: stores?.predictions ?? null,
    labels: stores?.labels ?? null,
    examples: [findings.events, findings.predictions, findings.labels].flatMap(({ examples }) => examples),
  }

  async function auditStores(clickhouse: ClickHouseClient) {
    const stored = await auditStore(clickhouse, 'predictions', predictions, topics.predictions, plan.storedPredictions)
    if (labels === null || topics.labels === null) return { predictions: stored, labels: null }
    for await (const set of readInput(topics.labels, plan.storedLabels)) labels.records(set.offsets, set.length)
    return {
      predictions: stored,
      labels: await auditStore(clickhouse, 'labels', labels, topics.labels, plan.storedLabels),
    }
  }

  async function auditStore(
    clickhouse: ClickHouseClient,
    table: 'predictions' | 'labels',
    ledger: StoreLedger,
    topic: string,
    span: Span,
  ): Promise<StoreReport> {
    const range = { table, pipeline: pipeline.name, generation: generations.get(topic) ?? '', partition, ...span }
    const copies = await readStored(clickhouse, range, ({ first, last }) => ledger.rows(first, last))
    if (table === 'labels') {
      const open = ledger.unaccounted(committed.labels)
      for (const offset of await supersededLabels({ ...sources, clickhouse }, pipeline, partition, open)) {
        ledger.superseded(offset)
      }
    }
    if (copies.final > 0) {
      const detail = `${copies.final} rows of this partition too many in ClickHouse, with FINAL`
      findings[table].add('double', topic, span.from, detail)
    }
    return { ...span, ...ledger.close(committed[table]), faults: findings[table].counts, copies }
  }
}

const NOTHING_LOST = { records: 0, below: 0 }

interface Vector {
  readonly offset: number
  readonly origin: number
}

function firstKnown({ length, kinds, offsets, origins }: OriginColumns): Vector | null {
  const row = kinds.indexOf(ORIGIN.known)
  return row < 0 || row >= length ? null : { offset: offsets[row] as number, origin: origins[row] as number }
}

/** Vectors that were deleted unread lie before the first one that is still there, and so do their events. */
function lostBefore(
  first: Vector | null,
  { sourceOffset }: Letter,
): { readonly records: number; readonly below: number } {
  if (first === null) return { records: Number.POSITIVE_INFINITY, below: Number.POSITIVE_INFINITY }
  return { records: Math.max(0, first.offset - sourceOffset), below: first.origin }
}

function createLetterCounts(generation: string, { from, to }: Span) {
  const counts = new Map<string, { stage: string; reason: string; count: number }>()
  return {
    add(letters: readonly Letter[]): void {
      for (const { stage, reason, kind, originGeneration, originOffset } of letters) {
        if (kind === 'unstored' || originGeneration !== generation || originOffset < from || originOffset >= to)
          continue
        const key = `${stage}\n${reason}`
        const entry = counts.get(key) ?? { stage, reason, count: 0 }
        counts.set(key, entry)
        entry.count += 1
      }
    },
    counts: (): readonly LetterCount[] => [...counts.values()].sort((a, b) => b.count - a.count),
  }
}
