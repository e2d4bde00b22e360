import { expect, test } from 'vitest'
import { traceparentOf } from '../../ingest/http/traceparent.ts'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const PARENT = '00f067aa0ba902b7'

test.each([`00-${TRACE}-${PARENT}-01`, `00-${TRACE}-${PARENT}-ff`, `01-${TRACE}-${PARENT}-01-and-more`])(
  'is carried as it came: %s',
  (traceparent) => {
    expect(traceparentOf({ traceparent })).toBe(traceparent)
  },
)

test.each([
  '',
  'ab',
  `00-${TRACE}-${PARENT}`,
  `00-${TRACE}-${PARENT}-01-more`,
  `ff-${TRACE}-${PARENT}-01`,
  `00-${'0'.repeat(32)}-${PARENT}-01`,
  `00-${TRACE}-${'0'.repeat(16)}-01`,
  `00-${TRACE.toUpperCase()}-${PARENT}-01`,
  `00-${TRACE}-${PARENT}-1`,
  ` 00-${TRACE}-${PARENT}-01`,
  `01-${TRACE}-${PARENT}-01-${'x'.repeat(512)}`,
])('is none: %j', (traceparent) => {
  expect(traceparentOf({ traceparent })).toBeNull()
})

test('none, and several, are none', () => {
  expect(traceparentOf({})).toBeNull()
  expect(traceparentOf({ traceparent: [`00-${TRACE}-${PARENT}-01`] })).toBeNull()
})
