import { WIRE_HEADER_BYTES as HEADER_BYTES } from '../../runtime/avro/wire-format.ts'
import type { RecordSet } from '../../runtime/kafka/record-batches/decode-record-set.ts'
import { AvroWalk } from './avro-walk.ts'
import { ORIGIN, type OriginColumns } from './event-ledger.ts'

/*
 * FeatureVector and Prediction begin alike (schemas/avro):
 *
 *   event_id, tenant, segment: string, event_time, ingested_at: long, event_schema_id: int, origin_generation: string,
 *   origin_offset: long, source_generation: string, source_offset: long, feature_set: string, features: array<float>,
 *   degraded: boolean, traceparent: ["null", "string"]
 *
 * and a prediction goes on with model, model_version, model_digest: string, role: enum.
 */
const SHADOW = 2

/** Whether values of a registry id have the layout that is read here. */
export type KnownLayout = (schemaId: number) => boolean

const walk = new AvroWalk()

/** What each record of a set is about: of the features topic, or with `hasRole` of the predictions topic. */
export function readOrigins(set: RecordSet, generation: Buffer, known: KnownLayout, hasRole: boolean): OriginColumns {
  const { length, values } = set
  const origins = new Float64Array(length)
  const kinds = new Uint8Array(length)
  walk.bytes = values.bytes
  for (let row = 0; row < length; row++) {
    const start = values.starts[row] as number
    const end = start + (values.lengths[row] as number)
    kinds[row] = ORIGIN.unreadable
    if (!begins(values.bytes, start, end, known)) continue
    walk.at = start + HEADER_BYTES
    walk.skipStrings(3)
    walk.long()
    walk.long()
    walk.long()
    const isCurrent = walk.isText(generation)
    const origin = walk.long()
    const role = hasRole && walk.at < end ? roleBehindOrigin() : 0
    if (walk.at > end || origin < 0) continue
    origins[row] = origin
    kinds[row] = role === SHADOW ? ORIGIN.aside : isCurrent ? ORIGIN.known : ORIGIN.otherGeneration
  }
  return { length, offsets: set.offsets, origins, kinds }
}

function roleBehindOrigin(): number {
  walk.skipBytes()
  walk.long()
  walk.skipBytes()
  walk.skipFloats()
  walk.at += 1
  if (walk.long() !== 0) walk.skipBytes()
  walk.skipStrings(3)
  return walk.long()
}

/** Registry ids of a set's values, so that they can be looked up before the set is read. */
export function schemaIdsOf({ length, values }: RecordSet): ReadonlySet<number> {
  const ids = new Set<number>()
  let last = -1
  for (let row = 0; row < length; row++) {
    const start = values.starts[row] as number
    if ((values.lengths[row] as number) < HEADER_BYTES || values.bytes[start] !== 0) continue
    const id = values.bytes.readInt32BE(start + 1)
    if (id !== last) ids.add(id)
    last = id
  }
  return ids
}

function begins(bytes: Buffer, start: number, end: number, known: KnownLayout): boolean {
  return end - start >= HEADER_BYTES && bytes[start] === 0 && known(bytes.readInt32BE(start + 1))
}
