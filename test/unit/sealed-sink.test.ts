import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, onTestFinished, test } from 'vitest'
import type { AvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import type { ColumnBatch } from '../../infra/runtime/kafka/consumer/column-batch.ts'
import type { LaneHooks, LaneSource } from '../../infra/runtime/kafka/consumer/lane-source.ts'
import { startSealedSink } from '../../sinks/clickhouse/sealed/sealed-sink.ts'
import type { SealedStore } from '../../sinks/clickhouse/sealed/sealed-store.ts'
import { SOURCE_TYPES, sourceColumns } from '../../sinks/clickhouse/stored-row.ts'
import { eventually } from '../support/eventually.ts'
import { memoryBatch } from '../support/memory-kafka.ts'
import { memoryTable } from '../support/memory-table.ts'

const TEXT: AvroReader<string> = {
  prepare: async () => {},
  prepareIds: async () => {},
  writerSchema: () => null,
  decode: (value) => ({ ok: true, record: String(value), schemaId: 1 }),
}

/** One partition that hands out what it is given. */
function source() {
  const waiting: ColumnBatch[] = []
  const settled: number[] = []
  let wake = (): void => {}
  let ended = false
  const value: LaneSource = {
    generation: 'id',
    async take() {
      while (waiting.length === 0 && !ended) {
        const { promise, resolve } = Promise.withResolvers<void>()
        wake = resolve
        await promise
      }
      return waiting.splice(0)
    },
    settle: (batch) => void settled.push(batch.offset(batch.length - 1)),
    rewind: () => {},
    reach: () => {},
    owns: () => true,
    commit: async () => true,
    confirm: async () => true,
    trusted: () => true,
    endIntake() {
      ended = true
      wake()
    },
    heldBytes: () => 0,
    positions: () => new Map(),
    stuckSince: () => null,
  }
  return {
    settled,
    hand(batch: ColumnBatch) {
      waiting.push(batch)
      wake()
    },
    async start(hooks: LaneHooks) {
      void hooks.open(0, { offset: 0, metadata: '' }, new AbortController().signal)
      return { value, stop: async () => await hooks.close?.(0, 'drained') }
    },
  }
}

async function sink(store: SealedStore) {
  const from = source()
  const started = await startSealedSink({
    startSource: (hooks) => from.start(hooks),
    topic: 't',
    partitions: 1,
    reader: TEXT,
    schema: {},
    rows: {
      table: 't',
      types: SOURCE_TYPES,
      partitionBy: null,
      row: (_, batch, index) => ({ kind: 'row', row: sourceColumns(batch, index), origin: { origin: null } }),
    },
    store,
    letters: null,
    limits: { maxRows: 1, maxBytes: 1_000, lingerMs: 0 },
    insertsPerSecond: 1_000_000,
    goOnAfterRetentionLost: false,
    retry: { baseMs: 1, maxMs: 2 },
    clock: systemClock,
    observer: {
      settled: () => {},
      landed: () => {},
      retrying: () => {},
      deferred: () => {},
      stopped: () => {},
      passedOver: () => {},
      began: () => {},
    },
    repairCommand: () => '',
  })
  onTestFinished(() => started.stop().catch(() => {}))
  return { ...from, sink: started.value }
}

const batchAt = (offset: number) => memoryBatch({ topic: 't', partition: 0, offsets: [offset] })

test('what has been stored is kept by nothing, for as long as the sink goes on', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const { hand, settled } = await sink(memoryTable())
  const handed: WeakRef<ColumnBatch>[] = []
  for (let offset = 0; offset < 20; offset++) {
    const batch = batchAt(offset)
    handed.push(new WeakRef(batch))
    hand(batch)
    await eventually(() => expect(settled.at(-1)).toBe(offset), { deadlineMs: 30_000 })
  }
  await eventually(
    () => {
      collect()
      expect(handed.filter((batch) => batch.deref() !== undefined).length).toBeLessThan(3)
    },
    { deadlineMs: 30_000 },
  )
})

test('what a lane does not understand ends the sink, while it waits for records too', async () => {
  const failing = { ...memoryTable(), insert: () => Promise.reject(new TypeError('?')) }
  const { hand, sink: started } = await sink(failing)
  hand(batchAt(0))
  await expect(started.ended).rejects.toThrow('?')
})
