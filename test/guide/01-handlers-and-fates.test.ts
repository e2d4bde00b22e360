/**
 * 1. Handlers and fates
 *
 * A stage is a handler between a source and the logs it writes. It is given batches, one per partition, as outcomes to fill in, and
 * must give every record exactly one fate. The loop around it (infra/runtime/kafka/hop/lane-hop.ts) turns fates into effects: dead
 * letters first, then outputs, then the commit. A handler does no Kafka itself, so it is tested without one.
 */
import { expect, test } from 'vitest'
import { retryable } from '../../infra/runtime/errors.ts'
import { type BatchHandler, openOutcome } from '../../infra/runtime/kafka/outcome.ts'
import { memoryBatch } from '../support/memory-kafka.ts'

/** Doubles numbers; what is no number is rejected, and zero has to wait. */
const doubling: BatchHandler = {
  async handle(outcomes) {
    for (const outcome of outcomes) {
      for (let i = 0; i < outcome.batch.length; i++) {
        const number = Number(outcome.batch.value(i)?.toString())
        if (Number.isNaN(number)) {
          outcome.reject(i, { kind: 'rejected', reason: 'no_number', message: 'the value is no number' })
        } else if (number === 0) {
          outcome.defer(i, 'zero', 'zero waits')
        } else {
          outcome.emit(i, 'doubled', outcome.batch.key(i), Buffer.from(String(number * 2)))
        }
      }
    }
  },
}

async function run(values: readonly string[], handler = doubling) {
  const records = values.map((value) => ({ value: Buffer.from(value) }))
  const outcome = openOutcome(memoryBatch({ topic: 'numbers', partition: 0, records }), ['doubled'])
  await handler.handle([outcome])
  return outcome.seal()
}

test('1.1 an emitted record goes to a named output, under its own key, in the order of the input', async () => {
  const { emissions } = await run(['1', '2'])
  expect(emissions.get('doubled')?.map(({ value }) => value.toString())).toEqual(['2', '4'])
})

test('1.2 a bad record is a value, not an exception: it is rejected and its neighbours go on', async () => {
  const { emissions, rejections } = await run(['1', 'x', '3'])
  expect(emissions.get('doubled')).toHaveLength(2)
  expect(rejections.map(([index, { reason }]) => [index, reason])).toEqual([[1, 'no_number']])
})

test('1.3 a deferred record holds back everything behind it in its lane: order is worth more than speed', async () => {
  const { settled, deferral } = await run(['1', '0', '3'])
  expect([settled, deferral?.code]).toEqual([1, 'zero'])
})

test('1.4 a record that was forgotten is found out before anything is written', async () => {
  const forgetful: BatchHandler = { handle: async ([outcome]) => outcome?.done(0) }
  await expect(run(['1', '2'], forgetful)).rejects.toThrow('record 1 of numbers/0 was given no fate')
})

test('1.5 a dependency that is down is thrown as `retry`: the same batches come again, nothing is given up', async () => {
  const waiting: BatchHandler = { handle: () => Promise.reject(retryable('store_unavailable', 'the store is down')) }
  await expect(run(['1'], waiting)).rejects.toMatchObject({ fate: 'retry', code: 'store_unavailable' })
})
