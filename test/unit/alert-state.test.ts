import { expect, test } from 'vitest'
import {
  changesOf,
  type JudgedWindow,
  NEVER_FIRED,
  type RuleChange,
  silenceEnd,
} from '../../sinks/drift/alerts/alert-state.ts'

const HOUR = 3_600_000

/** Windows of an hour: what is bad in each, `-` = nothing could be judged, `~a` = a had too little data. */
function windows(...said: readonly string[]): readonly JudgedWindow[] {
  return said.map((text, index) => {
    const words = text.split(' ').filter((word) => word !== '' && word !== '-')
    return {
      start: index * HOUR,
      end: (index + 1) * HOUR,
      bad: words.filter((word) => !word.startsWith('~')),
      silent: words.filter((word) => word.startsWith('~')).map((word) => word.slice(1)),
      judged: text !== '-',
    }
  })
}

const brief = (changes: readonly RuleChange[]) =>
  changes.map(({ state, windows: decided, series }) => [state, ...decided.map(({ end }) => end / HOUR), ...series])

test('a rule fires after k windows in a row with the same series, and is resolved after k without any', () => {
  expect(brief(changesOf(NEVER_FIRED, windows('a', '', 'a', 'a', 'a', '', 'b', '', ''), 2))).toEqual([
    ['firing', 3, 4, 'a'],
    ['resolved', 8, 9],
  ])
  expect(changesOf(NEVER_FIRED, windows('a', 'b', 'a', 'b'), 2)).toEqual([])
  expect(brief(changesOf(NEVER_FIRED, windows('a b', 'a b c'), 2))).toEqual([['firing', 1, 2, 'a', 'b']])
  expect(brief(changesOf(NEVER_FIRED, windows('a', ''), 1))).toEqual([
    ['firing', 1, 'a'],
    ['resolved', 2],
  ])
})

test('what cannot be judged neither raises nor resolves', () => {
  expect(brief(changesOf(NEVER_FIRED, windows('a', '-', '~a', 'a', '-', '', '-', ''), 2))).toEqual([
    ['firing', 1, 4, 'a'],
    ['resolved', 6, 8],
  ])
})

test('windows up to the last change are passed over, however they were restated', () => {
  const restated = windows('', '', 'a', 'a')
  expect(changesOf({ state: 'firing', until: 2 * HOUR }, restated, 2)).toEqual([])
  expect(
    brief(
      changesOf({ state: 'resolved', until: 3 * HOUR }, [...restated, ...windows('a', 'a', 'a', 'a', 'a').slice(4)], 2),
    ),
  ).toEqual([['firing', 4, 5, 'a']])
})

test('a silence is a time of day, and may go over midnight', () => {
  const night = { fromMinute: 22 * 60, toMinute: 6 * 60 }
  const at = (hour: number, minute = 0) => Date.UTC(2026, 0, 5, hour, minute)
  const times = [at(21, 59), at(22), at(23, 59) + 59_999, at(24), at(29, 59), at(30)]
  expect(times.map((time) => silenceEnd(night, time))).toEqual([at(21, 59), at(30), at(30), at(30), at(30), at(30)])
  const noon = { fromMinute: 720, toMinute: 780 }
  expect([at(11), at(12), at(13)].map((time) => silenceEnd(noon, time))).toEqual([at(11), at(13), at(13)])
  expect(silenceEnd(null, at(0))).toBe(at(0))
})
