import type { PartitionPauses } from '../kafka/consumer/lane-source.ts'
import type { Metrics } from '../telemetry/metrics.ts'

/** What an operator stops by hand in this process, a partition at a time. */
export interface PartitionControl {
  /** A topic that is read twice is paused for both. */
  add(topic: string, pauses: PartitionPauses): void
  /** False when nothing here reads the topic. */
  pause(topic: string, partition: number): boolean
  resume(topic: string, partition: number): boolean
  /** Null, or which partitions are paused. */
  problem(): string | null
}

export function createPartitionControl(metrics: Metrics): PartitionControl {
  const readers = new Map<string, PartitionPauses[]>()
  const gauge = metrics.gauge('millrace_partition_paused', '1 = paused by an operator', ['topic', 'partition'])

  function tell(topic: string, partition: number, what: 'pause' | 'resume'): boolean {
    const reading = readers.get(topic)
    if (reading === undefined) return false
    for (const reader of reading) reader[what](partition)
    gauge.set(what === 'pause' ? 1 : 0, { topic, partition: String(partition) })
    return true
  }

  return {
    add: (topic, pauses) => void readers.set(topic, [...(readers.get(topic) ?? []), pauses]),
    pause: (topic, partition) => tell(topic, partition, 'pause'),
    resume: (topic, partition) => tell(topic, partition, 'resume'),
    problem() {
      for (const [topic, reading] of readers) {
        const paused = [...new Set(reading.flatMap((reader) => [...reader.paused()]))].sort((a, b) => a - b)
        if (paused.length > 0) return `paused by an operator: ${topic}/${paused.join(', ')}`
      }
      return null
    },
  }
}
