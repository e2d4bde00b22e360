import type { Emission, SealedOutcome } from './outcome.ts'
import type { OutgoingBatch, OutgoingRecord } from './record-writer.ts'

/** Brokers refuse a record batch above `max.message.bytes`, 1,048,588 unless a topic says otherwise. */
const MAX_BATCH_BYTES = 900_000
/** Lengths, deltas and header prefixes of one record. */
const OVERHEAD_BYTES = 48

/** A record whose output is larger than any batch may be ends as a dead letter; its other outputs are dropped. */
export function rejectOversized(outcome: SealedOutcome): SealedOutcome {
  const tooLarge = new Map<number, Emission>()
  for (const list of outcome.emissions.values()) {
    for (const emission of list) {
      if (recordBytes(emission) > MAX_BATCH_BYTES) tooLarge.set(emission.index, emission)
    }
  }
  if (tooLarge.size === 0) return outcome
  const rejections = [...tooLarge].map(
    ([index, emission]) =>
      [
        index,
        {
          ...emission.subject,
          kind: 'rejected',
          reason: 'record_too_large',
          message: `the output would be ${recordBytes(emission)} bytes, at most ${MAX_BATCH_BYTES} can be written`,
        },
      ] as const,
  )
  return {
    ...outcome,
    emissions: new Map(
      [...outcome.emissions].map(([output, list]) => [output, list.filter(({ index }) => !tooLarge.has(index))]),
    ),
    rejections: [...outcome.rejections, ...rejections].sort(([a], [b]) => a - b),
  }
}

/**
 * Cuts batches into rounds, to be written one after another, so that no partition gets more than a broker accepts in one
 * batch. The order within a partition is kept.
 */
export function roundsBySize(
  batches: readonly OutgoingBatch[],
  maxBytes: number = MAX_BATCH_BYTES,
): readonly (readonly OutgoingBatch[])[] {
  const rounds: OutgoingBatch[][] = []
  for (const { topic, partition, records } of batches) {
    for (const [round, part] of partsBySize(records, maxBytes).entries()) {
      rounds[round] ??= []
      rounds[round].push({ topic, partition, records: part })
    }
  }
  return rounds
}

function partsBySize(records: readonly OutgoingRecord[], maxBytes: number): readonly (readonly OutgoingRecord[])[] {
  const parts: OutgoingRecord[][] = []
  let room = 0
  for (const record of records) {
    const bytes = recordBytes(record)
    if (bytes > room) {
      parts.push([])
      room = maxBytes
    }
    parts.at(-1)?.push(record)
    room -= bytes
  }
  return parts
}

function recordBytes({ key, value, headers }: OutgoingRecord): number {
  let bytes = OVERHEAD_BYTES + (key?.length ?? 0) + value.length
  for (const name in headers) bytes += name.length + (headers[name]?.length ?? 0)
  return bytes
}
