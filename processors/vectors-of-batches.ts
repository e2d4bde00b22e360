import type { AvroReader } from '../infra/runtime/avro/avro-reader.ts'
import { WIRE_HEADER_BYTES, writeWireHeader } from '../infra/runtime/avro/wire-format.ts'
import type { ColumnBatch } from '../infra/runtime/kafka/consumer/column-batch.ts'
import type { Outcome } from '../infra/runtime/kafka/outcome.ts'
import type { RecordBatch } from '../infra/runtime/kafka/record-batch.ts'
import { pickSlices } from '../infra/runtime/kafka/record-batches/columns.ts'
import { headerAt } from '../infra/runtime/kafka/record-batches/record-headers.ts'
import { createSpareMemory } from '../infra/runtime/spare-memory.ts'
import { type VectorColumns, type VectorFormat, vectorSubject } from '../infra/runtime/vectors.ts'
import type { FeatureVector } from '../schemas/generated/records.ts'
import { TENANT_HEADER, TRACEPARENT_HEADER } from '../schemas/headers.ts'
import { createDecodedRows, type DecodedRows } from './compile/decoded-rows.ts'
import { type DecodeRows, generateDecoder } from './compile/generated-decoder.ts'
import { compileLookupSites } from './compile/lookup-sites.ts'
import type { EventRecord } from './compile/step.ts'
import { createVectorEncoder, hasTexts, type RowFacts } from './encode-vectors.ts'
import { createFeaturesOfBatch, type EventOutcome, type FeaturesOfBatchDeps, traceparent } from './features-of-batch.ts'
import { createLookupColumns } from './lookup-columns.ts'

export interface VectorsOfBatchesDeps extends FeaturesOfBatchDeps {
  readonly events: AvroReader<EventRecord>
  /** To a value in the wire format, for records that take the readable path. */
  readonly encode: (vector: FeatureVector) => Buffer
  readonly observer: ProcessObserver
}

/** Called once per call; must not throw. */
export interface ProcessObserver {
  processed(counts: { readonly vectors: number; readonly degraded: number; readonly stepErrors: number }): void
}

/**
 * The feature vectors of events, in columns, one list for each lane; every record that has none, and is not behind one
 * that waits, was rejected or deferred. Not to be called twice at the same time.
 */
export type VectorsOfBatches = (outcomes: readonly Outcome[], format: VectorFormat) => Promise<readonly VectorColumns[]>

const NO_ID = -1
const MAX_SPARE_BYTES = 16_777_216
const TENANT = Buffer.from(TENANT_HEADER)
const TRACEPARENT = Buffer.from(TRACEPARENT_HEADER)

/**
 * Events of each writer schema go through a decoder made for it; records that it leaves undecided (malformed, of a schema
 * that takes the Avro library, failing a check, …) go through the readable path, which says what becomes of them.
 */
export function createVectorsOfBatches(deps: VectorsOfBatchesDeps): VectorsOfBatches {
  const { pipeline, events, tables } = deps
  const { tenant } = pipeline.event
  const fixedTenant = 'fixed' in tenant ? tenant.fixed : null
  const width = pipeline.features.length
  const sites = compileLookupSites(pipeline.features)
  const readable = createFeaturesOfBatch(deps)
  const lookUp = createLookupColumns(pipeline, sites, tables)
  const decoders = new Map<number, DecodeRows | null>()
  /** Kept for later calls. */
  const free: DecodedRows[] = []
  const spare = createSpareMemory(MAX_SPARE_BYTES)
  const spareValues = createSpareMemory(MAX_SPARE_BYTES)

  interface Work {
    readonly outcome: Outcome
    readonly batch: ColumnBatch
    readonly schemaIds: Int32Array
    readonly rows: DecodedRows
    /** Of the features. */
    readonly memory: Buffer
    readonly slow: number[]
    slowResults: readonly EventOutcome[]
  }

  function begin(outcome: Outcome): Work {
    const { batch } = outcome
    const { length } = batch
    let rows = free.pop()
    if (rows === undefined || rows.capacity < length) {
      rows = createDecodedRows(Math.max(length, 2 * (rows?.capacity ?? 0)), sites.sites.length)
    }
    rows.decoded.fill(0, 0, length)
    rows.degraded.fill(0, 0, length)
    const memory = spare.take(length * width * Float32Array.BYTES_PER_ELEMENT)
    rows.features = new Float32Array(memory.buffer, memory.byteOffset, length * width)
    return { outcome, batch, memory, schemaIds: schemaIdsOf(batch), rows, slow: [], slowResults: [] }
  }

  function decoderOf(id: number): DecodeRows | null {
    const known = decoders.get(id)
    if (known !== undefined) return known
    const schema = events.writerSchema(id)
    // what the registry does not know today, it may know tomorrow
    if (schema === null) return null
    const decoder = generateDecoder(pipeline, schema, sites)
    decoders.set(id, decoder)
    return decoder
  }

  function decode({ batch, schemaIds, rows }: Work, ids: ReadonlySet<number>): void {
    const { bytes, starts, lengths } = batch.values
    for (const id of ids) decoderOf(id)?.(bytes, starts, lengths, schemaIds, id, batch.length, rows)
    for (let row = 0; row < batch.length; row++) {
      if (rows.decoded[row] === 1 && !hasTexts(bytes, rows, row)) rows.decoded[row] = 0
    }
  }

  async function readSlowly(work: readonly Work[]): Promise<void> {
    for (const { batch, rows, slow } of work) {
      for (let row = 0; row < batch.length; row++) if (rows.decoded[row] === 0) slow.push(row)
    }
    const some = work.filter(({ slow }) => slow.length > 0)
    if (some.length === 0) return
    const results = await readable(some.map(({ batch, slow }) => rowsOf(batch, slow)))
    for (const [at, one] of some.entries()) one.slowResults = results[at] ?? []
  }

  /** Rejects and defers; answers the values of the slow rows that have one, and the row from which on all wait. */
  function settleSlow({ outcome, batch, slow, slowResults }: Work, counts: { stepErrors: number }) {
    const values = new Map<number, FeatureVector>()
    for (const [at, result] of slowResults.entries()) {
      const row = slow[at] as number
      if (result.ok) values.set(row, result.vector)
      else if ('rejection' in result) {
        outcome.reject(row, result.rejection)
        if (result.rejection.reason === 'step_error') counts.stepErrors += 1
      } else {
        outcome.defer(row, result.deferral.code, result.deferral.message)
        return { values, end: row }
      }
    }
    return { values, end: batch.length }
  }

  function factsOf({ batch, schemaIds }: Work): RowFacts {
    const { headers, length } = batch
    let any = false
    for (let row = 0; row < length && !any; row++) any = (headers.lengths[row] as number) > 0
    if (!any) return { schemaIds, tenants: fixedTenant === null ? [] : null, traceparents: null }
    const tenants: string[] | null = fixedTenant === null ? [] : null
    const traceparents: (string | null)[] = []
    for (let row = 0; row < length; row++) {
      if (tenants !== null) tenants[row] = headerAt(batch, row, TENANT)?.toString() ?? ''
      traceparents[row] = traceparent(headerAt(batch, row, TRACEPARENT) ?? null)
    }
    return { schemaIds, tenants, traceparents }
  }

  function vectorsOf(
    work: Work,
    format: VectorFormat,
    counts: { vectors: number; degraded: number; stepErrors: number },
  ) {
    const { batch, rows } = work
    const { values: slowVectors, end } = settleSlow(work, counts)
    const facts = factsOf(work)
    const encoder = createVectorEncoder(batch, pipeline.featureSet, fixedTenant, format)
    const encoded = new Map([...slowVectors].map(([row, vector]) => [row, deps.encode(vector)]))
    let size = 0
    for (let row = 0; row < end; row++) {
      if (rows.decoded[row] === 1) size += encoder.rowBytes(rows, facts, row)
    }
    for (const value of encoded.values()) size += value.length + format.room

    const bytes = spareValues.take(size)
    const sources = new Int32Array(end)
    const starts = new Int32Array(end)
    const lengths = new Int32Array(end)
    let at = 0
    let length = 0
    for (let row = 0; row < end; row++) {
      const value = rows.decoded[row] === 1 ? null : encoded.get(row)
      if (value === undefined) continue
      sources[length] = row
      starts[length] = at
      if (value === null) at = encoder.write(bytes, at, rows, facts, row)
      else {
        at += value.copy(bytes, at)
        writeWireHeader(bytes.subarray(starts[length]), format.schemaId)
      }
      lengths[length] = at - (starts[length] as number)
      at += format.room
      const vector = value === null ? null : (slowVectors.get(row) as FeatureVector)
      if (vector !== null) rows.features.set(vector.features, length * width)
      else if (length !== row) rows.features.copyWithin(length * width, row * width, (row + 1) * width)
      if (vector?.degraded ?? rows.degraded[row] === 1) counts.degraded += 1
      length += 1
    }
    counts.vectors += length
    const values = { bytes, starts, lengths }
    return {
      length,
      sources,
      keys: length === batch.length ? batch.keys : pickSlices(batch.keys, sources.subarray(0, length)),
      values,
      features: rows.features.subarray(0, length * width),
      width,
      subjectOf: (row: number) => vectorSubject(values, row),
      release: () => spareValues.give(bytes),
      releaseFeatures: () => spare.give(work.memory),
    }
  }

  return async (outcomes, format) => {
    const work = outcomes.map(begin)
    const ids = new Set<number>()
    for (const { schemaIds } of work) {
      let last = NO_ID
      for (const id of schemaIds) {
        if (id !== last && id !== NO_ID) ids.add(id)
        last = id
      }
    }
    try {
      await events.prepareIds(ids)
      for (const one of work) decode(one, ids)
      await lookUp(work)
      await readSlowly(work)
      const counts = { vectors: 0, degraded: 0, stepErrors: 0 }
      const vectors = work.map((one) => vectorsOf(one, format, counts))
      deps.observer.processed(counts)
      return vectors
    } finally {
      for (const { rows } of work) free.push(rows)
    }
  }
}

/** -1 for a value that is not in the wire format. */
function schemaIdsOf({ values, length }: ColumnBatch): Int32Array {
  const { bytes, starts, lengths } = values
  const ids = new Int32Array(length)
  for (let row = 0; row < length; row++) {
    const at = starts[row] as number
    ids[row] = (lengths[row] as number) < WIRE_HEADER_BYTES || bytes[at] !== 0 ? NO_ID : bytes.readInt32BE(at + 1)
  }
  return ids
}

/** Some rows of a batch, as a batch. */
function rowsOf(batch: RecordBatch, rows: readonly number[]): RecordBatch {
  const at = (index: number): number => rows[index] as number
  return {
    topic: batch.topic,
    partition: batch.partition,
    generation: batch.generation,
    length: rows.length,
    bytes: batch.bytes,
    offset: (index) => batch.offset(at(index)),
    timestamp: (index) => batch.timestamp(at(index)),
    key: (index) => batch.key(at(index)),
    value: (index) => batch.value(at(index)),
    header: (index, name) => batch.header(at(index), name),
    headerNames: (index) => batch.headerNames(at(index)),
  }
}
