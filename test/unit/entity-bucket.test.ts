import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { BUCKETS, entityBucket, murmur3, shareSeed } from '../../inference/rollout/entity-bucket.ts'

// Which entities a canary answers.

const KEYS = 100_000
const digest = (text: string): string => createHash('sha256').update(text).digest('hex')
const hash = (text: string, seed: number): number => {
  const bytes = Buffer.from(text)
  return murmur3(bytes, 0, bytes.length, seed)
}

test('the hash gives the published values of MurmurHash3_x86_32', () => {
  expect(hash('', 0)).toBe(0)
  expect(hash('', 1)).toBe(0x514e28b7)
  expect(hash('', 0xffffffff)).toBe(0x81f16f39)
  expect(hash('a', 0x9747b28c)).toBe(0x7fa09ea6)
  expect(hash('aa', 0x9747b28c)).toBe(0x5d211726)
  expect(hash('aaa', 0x9747b28c)).toBe(0x283e0130)
  expect(hash('aaaa', 0x9747b28c)).toBe(0x5a97808a)
  expect(hash('Hello, world!', 0x9747b28c)).toBe(0x24884cba)
  expect(hash('The quick brown fox jumps over the lazy dog', 0x9747b28c)).toBe(0x2fa826cd)
})

function bucketsOf(seed: number): Int32Array {
  const buckets = new Int32Array(KEYS)
  for (let at = 0; at < KEYS; at++) {
    // inside a larger buffer, as the keys of a batch lie
    const bytes = Buffer.from(`>>N${at}<<`)
    buckets[at] = entityBucket(bytes, 2, bytes.length - 2, seed)
  }
  return buckets
}

const share = (buckets: Int32Array, weight: number): number => buckets.filter((one) => one < weight).length / KEYS

test('at 10 % a canary answers 10 % of 100,000 keys, give or take half a percent of them', () => {
  for (const version of ['one', 'two', 'three', 'four', 'five']) {
    const buckets = bucketsOf(shareSeed(digest(version)))
    expect(Math.abs(share(buckets, 1_000) - 0.1)).toBeLessThan(0.005)
    expect(share(buckets, 0)).toBe(0)
    expect(share(buckets, BUCKETS)).toBe(1)
  }
})

test('the same keys on a replay, and of two versions different ones', () => {
  const seed = shareSeed(digest('one'))
  const first = bucketsOf(seed)
  expect(bucketsOf(seed)).toEqual(first)
  const other = bucketsOf(shareSeed(digest('two')))
  const both = first.filter((bucket, at) => bucket < 1_000 && (other[at] as number) < 1_000).length / KEYS
  expect(Math.abs(both - 0.01)).toBeLessThan(0.002)
})
