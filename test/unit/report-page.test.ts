import { expect, test } from 'vitest'
import { reportPage } from '../../sinks/drift/report/page.ts'
import type { ReportData } from '../../sinks/drift/report/read-report.ts'

const DAY = 86_400_000
const HOSTILE = `<script>alert("1")</script>&'\u0001`
const OF = { pipeline: HOSTILE, windowMs: DAY, paneMs: 3_600_000, at: 0 }
const EMPTY: ReportData = {
  ...{
    window: { prefix: 'p', from: 0, to: 30 * DAY },
    profile: null,
    versions: [],
    drift: [],
    segments: [],
    counts: [],
  },
  ...{ scores: [], quality: [], calibration: [], lags: [], challengers: [], alerts: [], firing: [] },
}

/** Every tag is closed by its own name, none carries anything that runs or loads. */
function requireHarmless(page: string): void {
  const open: string[] = []
  const alone = new Set(['meta', '!doctype'])
  for (const [tag, slash = '', name = ''] of page
    .replace(/<style>[\s\S]*<\/style>/, '')
    .matchAll(/<(\/?)(!?[a-z]\w*)(?:\s[^<>]*)?>/gi)) {
    if (alone.has(name)) continue
    if (slash === '') open.push(name)
    else expect(open.pop(), tag).toBe(name)
  }
  expect(open).toEqual([])
  expect(page).not.toMatch(/<(script|link|img|iframe|object)|\son\w+=|javascript:|@import|url\(/i)
  for (const [, address] of page.matchAll(/https?:\/\/([^"]*)/g)) expect(address).toBe('www.w3.org/2000/svg')
}

test('a window without predictions says so', () => {
  const page = reportPage(OF, EMPTY)
  expect(page).toContain('There are no predictions of events in this window.')
  requireHarmless(page)
})

test('a window that nothing was compared with says so in each section', () => {
  const versions = [{ model_version: '1', role: 'primary', n: 3, first: 0, last: DAY }]
  const page = reportPage(OF, { ...EMPTY, versions })
  expect(page).toContain('Nothing was compared with a reference profile')
  expect(page).toContain('No window was compared with a profile.')
  expect(page).toContain('No label has come')
  requireHarmless(page)
})

test('what comes from outside is text, whatever it holds, and numbers that are none leave gaps', () => {
  const cell = {
    start: 0,
    model_version: HOSTILE,
    segment: HOSTILE,
    subject: 'feature',
    feature: HOSTILE,
    n: 5,
  } as const
  const drift = [
    { ...cell, times: 9, known: true, drifts: true, metrics: [[HOSTILE, 1, 0.1]] as const },
    { ...cell, start: DAY, times: 0, known: false, drifts: false, metrics: [] },
  ]
  const counts = { feature: HOSTILE, model_version: HOSTILE, labels: [HOSTILE, 'b', 'missing'] }
  const point = { start: 0, model_version: HOSTILE, metric: 'auc', known_after: 65_535, value: 0.7, known: 5, n: 9 }
  const page = reportPage(OF, {
    ...EMPTY,
    profile: { profile: HOSTILE, rows: 100, model: HOSTILE },
    versions: [{ model_version: HOSTILE, role: HOSTILE, n: 5, first: 0, last: DAY }],
    ...{ drift, segments: drift },
    counts: [{ ...counts, subject: 'feature', reference: [0, 0, 0], counts: [5, 0, 1] }],
    scores: [{ ...counts, subject: 'score', reference: [5, 5, 0], counts: [0, 0, 0] }],
    quality: [
      { ...point, low: 0.6, high: 0.8 },
      { ...point, start: DAY, value: Number.NaN, low: Number.NaN, high: Number.NaN },
      { ...point, known_after: 24, low: Number.NaN, high: Number.NaN },
    ],
    calibration: [{ model_version: HOSTILE, promised: 0.5, came: 1, events: 4 }],
    lags: [{ model_version: HOSTILE, lag_hours: null, predictions: 4 }],
    challengers: [
      {
        start: 0,
        champion: HOSTILE,
        challenger: HOSTILE,
        metric: HOSTILE,
        gain: 1,
        error: 0.1,
        p_value: null,
        pairs: 5,
      },
    ],
    alerts: [{ at: 0, rule: HOSTILE, state: 'firing', severity: HOSTILE, message: HOSTILE, evidence_sql: HOSTILE }],
    firing: [HOSTILE],
  })
  requireHarmless(page)
  expect(page).toContain('&lt;script&gt;')
  expect(page).not.toContain('\u0001')
  expect(page).not.toContain('NaN')
})

test('many windows share columns, and one of the worst is shown', () => {
  const drift = Array.from({ length: 720 }, (_, hour) => {
    const cell = {
      start: hour * 3_600_000,
      model_version: '1',
      segment: '*',
      subject: 'feature',
      feature: 'temp',
      n: 900,
    } as const
    return { ...cell, times: hour === 100 ? 7 : 0.2, known: true, drifts: hour === 100, metrics: [] }
  })
  const versions = [{ model_version: '1', role: 'primary', n: 3, first: 0, last: DAY }]
  const page = reportPage(OF, { ...EMPTY, versions, drift })
  expect(page).toContain('A column is the worst of 12 windows in a row.')
  const cells = [...page.matchAll(/temp, window from/g)]
  expect(cells).toHaveLength(60)
  expect(page).toContain('temp, window from 1970-01-05 04:00\ndrift, worst 7 times its threshold')
})
