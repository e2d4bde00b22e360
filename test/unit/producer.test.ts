import { expect, test } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import { fatal, rejected, retryable } from '../../infra/runtime/errors.ts'
import { type BatchingProducerOptions, startBatchingProducer } from '../../infra/runtime/kafka/batching-producer.ts'
import { partitionOfKey } from '../../infra/runtime/kafka/partitioner.ts'
import type { OutgoingRecord, RecordWriter } from '../../infra/runtime/kafka/record-writer.ts'

const PARTITIONS = 3
const record = (key: string | null, value: string): OutgoingRecord => ({
  key: key === null ? null : Buffer.from(key),
  value: Buffer.from(value),
})

interface TestLog extends RecordWriter {
  /** Values by partition, in the order of the log. */
  readonly partitions: string[][]
  /** Sizes of the batches that were asked for. */
  readonly asked: number[]
  /** Thrown by the next writes, one each. */
  readonly failures: unknown[]
  /** While set, writes wait for it. */
  gate: Promise<void> | null
  mostAtOnce: number
}

/** Appends like a topic does; refuses values that begin with `!` as too large. */
function testLog(): TestLog {
  const busy = new Set<number>()
  return {
    partitions: Array.from({ length: PARTITIONS }, () => []),
    asked: [],
    failures: [],
    gate: null,
    mostAtOnce: 0,
    async write([batch]) {
      if (batch === undefined) throw new Error('nothing to write')
      const { topic, partition, records } = batch
      expect(busy.has(partition)).toBe(false)
      busy.add(partition)
      this.mostAtOnce = Math.max(this.mostAtOnce, busy.size)
      this.asked.push(records.length)
      try {
        if (this.gate !== null) await this.gate
        const failure = this.failures.shift()
        if (failure !== undefined) throw failure
        const values = records.map(({ value }) => value.toString())
        if (values.some((value) => value.startsWith('!'))) throw rejected('record_too_large', 'too large')
        const log = this.partitions[partition] as string[]
        const baseOffset = log.length
        log.push(...values)
        return [{ topic, partition, baseOffset, appendedAt: 5 }]
      } finally {
        busy.delete(partition)
      }
    },
  }
}

function producerOn(writer: RecordWriter, changes: Partial<BatchingProducerOptions> = {}) {
  return startBatchingProducer({
    topic: 'events',
    partitions: PARTITIONS,
    writer,
    limits: { maxRecords: 100, maxBytes: 100_000, lingerMs: 1 },
    maxBytesInFlight: 1_000_000,
    retry: { baseMs: 1, maxMs: 2 },
    stopWithinMs: 5_000,
    clock: systemClock,
    ...changes,
  })
}

function openGate(): { readonly closed: Promise<void>; open(): void } {
  let open = (): void => {}
  const closed = new Promise<void>((resolve) => {
    open = resolve
  })
  return { closed, open: () => open() }
}

test('records of a key keep their order, in the partition that Kafka clients choose', async () => {
  const log = testLog()
  const { value: producer, stop } = producerOn(log)
  const keys = ['N14228', 'N24211', 'N619AA', 'é']
  const sent = await Promise.all(
    Array.from({ length: 400 }, (_, index) => producer.send(() => record(keys[index % 4] ?? '', `${index}`))),
  )
  await stop()
  for (const [index, { partition, offset, appendedAt }] of sent.entries()) {
    expect(partition).toBe(partitionOfKey(Buffer.from(keys[index % 4] ?? ''), PARTITIONS))
    expect(log.partitions[partition]?.[offset]).toBe(`${index}`)
    expect(appendedAt).toBe(5)
  }
  for (const values of log.partitions) expect(values).toEqual(values.toSorted((a, b) => Number(a) - Number(b)))
  expect(Math.max(...log.asked)).toBe(100)
})

test('records without a key are spread over the partitions', async () => {
  const log = testLog()
  const { value: producer, stop } = producerOn(log, { limits: { maxRecords: 10, maxBytes: 10_000, lingerMs: 0 } })
  for (let index = 0; index < 60; index++) await producer.send(() => record(null, `${index}`))
  await stop()
  expect(log.partitions.map(({ length }) => length)).toEqual([20, 20, 20])
})

test('a batch with an unknown outcome is written again before its successors', async () => {
  const log = testLog()
  log.failures.push(retryable('kafka_unavailable', 'down'), retryable('kafka_unavailable', 'down'))
  const attempts: number[] = []
  const { value: producer, stop } = producerOn(log, {
    limits: { maxRecords: 2, maxBytes: 10_000, lingerMs: 1 },
    onRetry: ({ attempt }) => attempts.push(attempt),
  })
  await Promise.all(['1', '2', '3', '4', '5'].map((value) => producer.send(() => record('k', value))))
  await stop()
  expect(log.partitions.flat()).toEqual(['1', '2', '3', '4', '5'])
  expect(attempts).toEqual([1, 2])
})

test('a record that the topic does not take fails alone', async () => {
  const log = testLog()
  const { value: producer, stop } = producerOn(log)
  const values = ['1', '2', '!3', '4', '5', '6', '!7']
  const results = await Promise.allSettled(values.map((value) => producer.send(() => record('k', value))))
  await stop()
  expect(results.map(({ status }) => status === 'fulfilled')).toEqual([true, true, false, true, true, true, false])
  expect(log.partitions.flat()).toEqual(['1', '2', '4', '5', '6'])
})

test('a record that cannot be made fails alone', async () => {
  const log = testLog()
  const { value: producer, stop } = producerOn(log)
  const bad = producer.send(() => {
    throw rejected('invalid_record', 'distance is missing')
  })
  await expect(bad).rejects.toThrow('distance is missing')
  await producer.send(() => record('k', '1'))
  await stop()
  expect(log.partitions.flat()).toEqual(['1'])
})

test('memory is bounded: nothing more is made than what fits, and order is kept', async () => {
  const log = testLog()
  const gate = openGate()
  log.gate = gate.closed
  const { value: producer, stop } = producerOn(log, { maxBytesInFlight: 10_000 })
  let made = 0
  const value = 'x'.repeat(1_000)
  const sending = Array.from({ length: 50 }, (_, index) =>
    producer.send(() => {
      made++
      return record('k', `${String(index).padStart(2, '0')}${value}`)
    }),
  )
  expect(made).toBe(10)
  const room = producer.room()
  expect(room).not.toBeNull()
  gate.open()
  log.gate = null
  await Promise.all(sending)
  await room
  expect(producer.room()).toBeNull()
  await stop()
  expect(log.partitions.flat().map((text) => Number(text.slice(0, 2)))).toEqual(Array.from({ length: 50 }, (_, i) => i))
})

test('flush sends what lingers, and waits for what was sent before it only', async () => {
  const log = testLog()
  const { value: producer, stop } = producerOn(log, { limits: { maxRecords: 10, maxBytes: 10_000, lingerMs: 60_000 } })
  const first = producer.send(() => record('k', '1'))
  const flushed = producer.flush()
  const second = producer.send(() => record('k', '2'))
  await flushed
  expect(await first).toMatchObject({ offset: 0 })
  expect(log.partitions.flat()).toEqual(['1'])
  await stop()
  expect(await second).toMatchObject({ offset: 1 })
  await expect(producer.send(() => record('k', '3'))).rejects.toMatchObject({ code: 'producer_stopped' })
})

test('flush of nothing is done', async () => {
  const { value: producer, stop } = producerOn(testLog())
  await producer.flush()
  await stop()
})

test('a stop that Kafka does not answer gives up at its deadline', async () => {
  const log = testLog()
  log.failures.push(...Array.from({ length: 1_000 }, () => retryable('kafka_unavailable', 'down')))
  const { value: producer, stop } = producerOn(log, { stopWithinMs: 50, maxBytesInFlight: 40 })
  const sending = Promise.allSettled(['1', '2', '3'].map((value) => producer.send(() => record('k', value))))
  await stop()
  for (const result of await sending) {
    expect(result).toMatchObject({ status: 'rejected', reason: { code: 'not_acknowledged', fate: 'retry' } })
  }
  expect(log.partitions.flat()).toEqual([])
})

test('a refusal ends the producer', async () => {
  const log = testLog()
  log.failures.push(fatal('kafka_refused', 'no right to write'))
  const { value: producer, stop } = producerOn(log, { limits: { maxRecords: 1, maxBytes: 10_000, lingerMs: 0 } })
  const results = await Promise.allSettled(['1', '2'].map((value) => producer.send(() => record('k', value))))
  for (const result of results) expect(result).toMatchObject({ reason: { code: 'kafka_refused' } })
  await expect(producer.send(() => record('k', '3'))).rejects.toMatchObject({ code: 'kafka_refused' })
  expect(producer.room()).toBeNull()
  await stop()
})

test('partitions do not wait for one another', async () => {
  const log = testLog()
  const gate = openGate()
  log.gate = gate.closed
  const { value: producer, stop } = producerOn(log, { limits: { maxRecords: 1, maxBytes: 10_000, lingerMs: 0 } })
  const sending = Array.from({ length: 20 }, (_, index) => producer.send(() => record(`key ${index}`, `${index}`)))
  gate.open()
  await Promise.all(sending)
  await stop()
  expect(log.mostAtOnce).toBe(PARTITIONS)
})
