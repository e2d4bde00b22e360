import type { AvroReader } from '../infra/runtime/avro/avro-reader.ts'
import type { Rejection } from '../infra/runtime/kafka/outcome.ts'
import type { RecordBatch } from '../infra/runtime/kafka/record-batch.ts'
import type { FeatureVector } from '../schemas/generated/records.ts'
import { TENANT_HEADER, TRACEPARENT_HEADER } from '../schemas/headers.ts'
import type { CompiledPipeline } from '../schemas/pipeline/compiled.ts'
import { compileChecks } from './compile/checks.ts'
import { compileEventFacts, type EventFacts, eventId } from './compile/event-facts.ts'
import { compileFeatures, type UsableRow } from './compile/features.ts'
import { compileLookupSites } from './compile/lookup-sites.ts'
import type { EventRecord, StepFailure } from './compile/step.ts'
import { type FoundRows, type Tables, usableAt } from './lookups/tables.ts'

export type EventOutcome =
  | { readonly ok: true; readonly vector: FeatureVector }
  | { readonly ok: false; readonly rejection: Rejection }
  /** Not now: the registry may know its schema soon. */
  | { readonly ok: false; readonly deferral: { readonly code: string; readonly message: string } }

export interface FeaturesOfBatchDeps {
  readonly pipeline: CompiledPipeline
  /** Reads events in the shape of the pipeline's schema. */
  readonly events: Pick<AvroReader<EventRecord>, 'prepare' | 'decode'>
  readonly tables: Tables
}

/**
 * The feature vectors of events, or why they have none: for each batch, an outcome for each record. A record's outcome
 * depends on its own bytes, headers and table rows only. Rejects with a `retry` error of the registry or the tables.
 */
export function createFeaturesOfBatch(
  deps: FeaturesOfBatchDeps,
): (batches: readonly RecordBatch[]) => Promise<readonly (readonly EventOutcome[])[]> {
  const { pipeline, events, tables } = deps
  const { event, featureSet } = pipeline
  const factsOf = compileEventFacts(event)
  const check = compileChecks(pipeline.checks)
  const { sites, siteOf } = compileLookupSites(pipeline.features)
  const featuresOf = compileFeatures(pipeline.features, siteOf)
  const maxAgeMs = new Map(pipeline.tables.map((table) => [table.name, table.maxAgeMs]))
  const width = pipeline.features.length

  /** An event that has passed everything before its lookups. */
  interface Candidate {
    readonly ok: true
    readonly record: EventRecord
    readonly schemaId: number
    readonly facts: EventFacts
    /** Key of each lookup site. */
    readonly keys: readonly (string | null)[]
  }
  type Examined = Candidate | Extract<EventOutcome, { readonly ok: false }>

  function tenantOf(batch: RecordBatch, index: number): string {
    return 'fixed' in event.tenant ? event.tenant.fixed : (batch.header(index, TENANT_HEADER)?.toString() ?? '')
  }

  function reject(batch: RecordBatch, index: number, { reason, message }: StepFailure, id: string | null) {
    const base = { kind: 'rejected', reason, message, tenant: tenantOf(batch, index) } as const
    return { ok: false, rejection: id === null ? base : { ...base, eventId: id } } as const
  }

  function examine(batch: RecordBatch, index: number): Examined {
    const decoded = events.decode(batch.value(index))
    if (!decoded.ok && decoded.pending) {
      return { ok: false, deferral: { code: 'unknown_schema', message: decoded.message } }
    }
    if (!decoded.ok) return reject(batch, index, decoded, null)
    const { record, schemaId } = decoded
    const id = eventId(event, record)
    const facts = factsOf(record)
    if (!facts.ok) return reject(batch, index, facts.failure, id)
    const failure = check(record)
    if (failure !== null) return reject(batch, index, failure, id)
    const keys: (string | null)[] = []
    for (const site of sites) {
      const key = site.key(record)
      if (!key.ok) return reject(batch, index, key.failure, id)
      keys.push(key.value)
    }
    return { ok: true, record, schemaId, facts: facts.value, keys }
  }

  function tableKeys(examined: readonly (readonly Examined[])[]): ReadonlyMap<string, ReadonlySet<string>> {
    const wanted = new Map<string, Set<string>>()
    for (const one of examined.flat()) {
      if (!one.ok) continue
      for (const [at, key] of one.keys.entries()) {
        const table = sites[at]?.table
        if (key === null || table === undefined) continue
        const keys = wanted.get(table)
        if (keys === undefined) wanted.set(table, new Set([key]))
        else keys.add(key)
      }
    }
    return wanted
  }

  function usableRows(candidate: Candidate, found: FoundRows): readonly UsableRow[] {
    return sites.map(({ table }, at) => {
      const key = candidate.keys[at] ?? null
      return key === null ? null : usableAt(found.row(table, key), candidate.facts.time, maxAgeMs.get(table) ?? 0)
    })
  }

  function finish(batch: RecordBatch, index: number, candidate: Candidate, found: FoundRows): EventOutcome {
    const { facts, record, schemaId } = candidate
    const row = new Float32Array(width)
    const computed = featuresOf(record, usableRows(candidate, found), row, 0)
    if (!computed.ok) return reject(batch, index, computed.failure, facts.id)
    const vector: FeatureVector = {
      event_id: facts.id,
      tenant: tenantOf(batch, index),
      segment: facts.segment,
      event_time: facts.time,
      ingested_at: batch.timestamp(index),
      event_schema_id: schemaId,
      origin_generation: batch.generation,
      origin_offset: batch.offset(index),
      source_generation: batch.generation,
      source_offset: batch.offset(index),
      feature_set: featureSet.digest,
      features: Array.from(row),
      degraded: computed.value.degraded,
      traceparent: traceparent(batch.header(index, TRACEPARENT_HEADER)),
    }
    return { ok: true, vector }
  }

  return async (batches) => {
    await events.prepare(valuesOf(batches))
    const examined = batches.map((batch) => indexes(batch).map((index) => examine(batch, index)))
    const found = await tables.fetch(tableKeys(examined))
    return batches.map((batch, at) =>
      (examined[at] ?? []).map((one, index) => (one.ok ? finish(batch, index, one, found) : one)),
    )
  }
}

function* valuesOf(batches: readonly RecordBatch[]): Generator<Buffer | null> {
  for (const batch of batches) for (let index = 0; index < batch.length; index++) yield batch.value(index)
}

function indexes(batch: RecordBatch): readonly number[] {
  return Array.from({ length: batch.length }, (_, index) => index)
}

/** W3C trace context, https://www.w3.org/TR/trace-context/#traceparent-header; null when it is not one. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/

export function traceparent(header: Buffer | null): string | null {
  const text = header === null ? null : header.toString('latin1')
  return text !== null && TRACEPARENT.test(text) ? text : null
}
