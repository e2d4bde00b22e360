import type { AvroProducer } from '../../runtime/kafka/avro-producer.ts'
import type { DataRecord } from './timed-records.ts'

/** Writes one topic of the replay and counts what Kafka has acknowledged. */
export interface CountedProducer {
  /** Null when the next may follow at once, else it has to wait for the promise. */
  send(record: DataRecord): Promise<void> | null
  flush(): Promise<void>
  acknowledged(): number
  /** By partition, of those that were written to: acknowledged records, and the offset behind the last of them. */
  readonly partitions: ReadonlyMap<number, { readonly records: number; readonly end: number }>
}

/** `onFailure`: a record was refused or given up; the replay cannot be complete any more. */
export function createCountedProducer(
  producer: AvroProducer<DataRecord>,
  onFailure: (error: unknown) => void,
): CountedProducer {
  const partitions = new Map<number, { records: number; end: number }>()
  let acknowledged = 0
  return {
    send(record) {
      producer.send(record).then(({ partition, offset }) => {
        acknowledged++
        const counted = partitions.get(partition)
        if (counted === undefined) partitions.set(partition, { records: 1, end: offset + 1 })
        else {
          counted.records++
          counted.end = offset + 1
        }
      }, onFailure)
      return producer.room()
    },
    flush: () => producer.flush(),
    acknowledged: () => acknowledged,
    partitions,
  }
}
