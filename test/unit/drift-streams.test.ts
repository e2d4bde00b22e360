/** Change in a stream: where River's and CapyMOA's documentation have their alarms. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { Adwin } from '../../sinks/drift/statistics/adwin.ts'
import { afterPageHinkley, PAGE_HINKLEY_START } from '../../sinks/drift/statistics/page-hinkley.ts'
import { seededRandom } from '../support/seeded-random.ts'

const FIXTURES = path.join(import.meta.dirname, '../fixtures/drift')
const stream = (name: string): number[] => Array.from(readFileSync(path.join(FIXTURES, name), 'utf8').trim(), Number)
const alarmsOf = (values: readonly number[], update: (value: number) => boolean): (readonly [number, number])[] =>
  values.flatMap((value, at) => (update(value) ? [[at, value] as const] : []))
const pageHinkley = (): ((value: number) => boolean) => {
  let state = PAGE_HINKLEY_START
  return (value) => {
    const after = afterPageHinkley(state, value)
    state = after.state
    return after.alarm
  }
}

test('Page and Hinkley on River’s stream: one alarm', () => {
  const values = stream('river-stream.txt')
  expect(values).toHaveLength(2000)
  expect(alarmsOf(values, pageHinkley())).toEqual([[1006, 5]])
})

test('ADWIN on River’s stream: one alarm', () => {
  const adwin = new Adwin()
  const values = stream('river-stream.txt')
  expect(alarmsOf(values, (value) => adwin.update(value))).toEqual([[1023, 4]])
})

test('ADWIN on CapyMOA’s stream: two alarms', () => {
  const adwin = new Adwin({ delta: 0.001 })
  const values = stream('capymoa-stream.txt')
  expect(alarmsOf(values, (value) => adwin.update(value))).toEqual([
    [1023, 4],
    [1055, 5],
  ])
})

test('ADWIN keeps a stream that stays as it is, and what came after a change', () => {
  const random = seededRandom(8)
  const adwin = new Adwin()
  let [sum, count] = [0, 0]
  for (let at = 0; at < 20_000; at++) {
    const value = random.next()
    sum += value
    count++
    expect(adwin.update(value)).toBe(false)
  }
  expect(adwin.width).toBe(count)
  expect(adwin.mean).toBeCloseTo(sum / count, 9)
  const alarms = alarmsOf(
    Array.from({ length: 3000 }, () => random.next() + 1),
    (value) => adwin.update(value),
  )
  expect(alarms[0]![0]).toBeLessThan(64)
  expect(adwin.width).toBeLessThan(3200)
  expect(adwin.mean).toBeCloseTo(1.5, 1)
})
