import type { AvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import type { LogReader } from '../../infra/runtime/kafka/log-reader.ts'
import { sliceAt } from '../../infra/runtime/kafka/record-batches/columns.ts'
import { headerAt } from '../../infra/runtime/kafka/record-batches/record-headers.ts'
import { TENANT_HEADER } from '../../schemas/headers.ts'
import type { CompiledEvent } from '../../schemas/pipeline/compiled.ts'
import { eventId } from '../compile/event-facts.ts'
import type { EventRecord } from '../compile/step.ts'
import { ownedId } from './recent-ids.ts'
import type { WithoutRepeatsOptions } from './without-repeats.ts'

const TENANT = Buffer.from(TENANT_HEADER)

/** Reads the ids of a window from the events topic; what retention has taken is not there to be repeated. */
export function createReadBack(deps: {
  readonly log: LogReader
  readonly event: CompiledEvent
  readonly events: Pick<AvroReader<EventRecord>, 'prepare' | 'decode'>
}): WithoutRepeatsOptions['readBack'] {
  const { log, event, events } = deps
  return async function* readBack(partition, range, signal) {
    const { start } = await log.range(event.topic, partition)
    const from = Math.max(range.from, start)
    if (from >= range.to) return
    for await (const records of log.read(event.topic, partition, from, range.to, {
      isolation: 'read_committed',
      signal,
    })) {
      const values = Array.from({ length: records.length }, (_, row) => sliceAt(records.values, row))
      await events.prepare(values)
      for (const [row, value] of values.entries()) {
        const decoded = events.decode(value)
        const id = decoded.ok ? eventId(event, decoded.record) : null
        if (id === null) continue
        const { tenant } = event
        const owner = 'fixed' in tenant ? tenant.fixed : (headerAt(records, row, TENANT)?.toString() ?? '')
        yield { offset: records.offsets[row] as number, id: ownedId(owner, id) }
      }
    }
  }
}
