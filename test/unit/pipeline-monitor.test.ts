import { number } from 'millrace'
import { beforeEach, expect, test } from 'vitest'
import { compilePipeline } from '../../schemas/pipeline/load.ts'
import { type CompiledMonitor, DEFAULT_MONITOR } from '../../schemas/pipeline/monitor.ts'
import { problemsOf, sound, tripFolder } from '../support/trip-pipeline.ts'

let folder = ''
beforeEach(() => {
  folder = tripFolder()
})

const watched = (monitor: unknown): object => ({ ...sound, features: { seats: number('seats' as never) }, monitor })

function monitorOf(monitor: unknown): CompiledMonitor {
  return compilePipeline(folder, watched(monitor)).monitor
}

test('a pipeline that says nothing of it is watched by the defaults', () => {
  expect(compilePipeline(folder, sound).monitor).toBe(DEFAULT_MONITOR)
  expect(monitorOf({})).toEqual(DEFAULT_MONITOR)
  expect(monitorOf({ alerts: {} }).rules).toEqual([])
  // A pane that is wider than the default window is a window.
  expect(monitorOf({ pane: '1d' })).toMatchObject({ paneMs: 86_400_000, windowMs: 86_400_000 })
})

test('everything that can be said', () => {
  const monitor = monitorOf({
    pane: '1h',
    window: '7d',
    minRows: 100,
    consecutive: 3,
    threshold: 0.2,
    alerts: {
      seats: { severity: 'critical', drift: { feature: 'seats', metric: 'ks', above: 0.1 } },
      score: { drift: { feature: 'score' }, silence: { from: '22:30', to: '06:00' } },
      auc: { severity: 'info', quality: { metric: 'auc', below: 0.7 } },
    },
  })
  expect(monitor).toEqual({
    paneMs: 3_600_000,
    windowMs: 604_800_000,
    minRows: 100,
    consecutive: 3,
    threshold: 0.2,
    rules: [
      {
        name: 'seats',
        severity: 'critical',
        on: { kind: 'drift', feature: 'seats', metric: 'ks', above: 0.1 },
        silence: null,
      },
      {
        name: 'score',
        severity: 'warning',
        on: { kind: 'drift', feature: 'score', metric: null, above: null },
        silence: { fromMinute: 1350, toMinute: 360 },
      },
      {
        name: 'auc',
        severity: 'info',
        on: { kind: 'quality', metric: 'auc', below: 0.7, above: null },
        silence: null,
      },
    ],
  })
})

test.each([
  [{ pane: '7m' }, 'monitor.pane', 'a pane is whole seconds that divide an hour'],
  [{ pane: '500ms', window: '1h' }, 'monitor.pane', 'a pane is whole seconds'],
  [{ pane: '5h', window: '10h' }, 'monitor.pane', 'whole hours that divide a day'],
  [{ pane: 'hourly' }, 'monitor.pane', 'is not a duration'],
  [{ window: '7m' }, 'monitor.window', 'a window (420 s) is a whole number of panes (300 s)'],
  [{ minRows: 0.5 }, 'monitor.minRows', '0.5 is not a whole number from 1'],
  [{ consecutive: 0 }, 'monitor.consecutive', '0 is not a whole number from 1'],
  [{ threshold: '0.5' }, 'monitor.threshold', 'is not a finite number'],
  [{ windows: '1h' }, 'monitor.windows', 'unknown key'],
  [{ alerts: { 'A b': { drift: {} } } }, 'monitor.alerts.A b', 'the name of an alert'],
  [{ alerts: { a: {} } }, 'monitor.alerts.a', 'either drift or quality is expected'],
  [{ alerts: { a: { drift: { feature: 'seat' } } } }, 'monitor.alerts.a.drift.feature', 'there is no feature seat'],
  [{ alerts: { a: { drift: { above: 1 } } } }, 'monitor.alerts.a.drift.above', 'a bound needs the metric'],
  [{ alerts: { a: { quality: { metric: 'auc' } } } }, 'monitor.alerts.a.quality', 'below, above or both'],
  [
    { alerts: { a: { drift: {}, silence: { from: '24:00', to: '06:00' } } } },
    'monitor.alerts.a.silence.from',
    'a time of day',
  ],
  [
    { alerts: { a: { drift: {}, silence: { from: '06:00', to: '06:00' } } } },
    'monitor.alerts.a.silence.to',
    'over at once',
  ],
])('%j is refused at %s', (monitor, where, message) => {
  const [problem, ...others] = problemsOf(folder, watched(monitor))
  expect(problem).toContain(`pipeline.ts: ${where}: `)
  expect(problem).toContain(message)
  expect(others).toEqual([])
})

test('quality that needs labels is refused in a pipeline without', () => {
  const { label: _, ...unlabelled } = sound as typeof sound & { label: unknown }
  const watch = (metric: string) => ({ ...unlabelled, monitor: { alerts: { a: { quality: { metric, below: 0.5 } } } } })
  expect(compilePipeline(folder, watch('estimated_auc')).monitor.rules).toHaveLength(1)
  expect(problemsOf(folder, watch('auc'))).toEqual([
    expect.stringContaining('monitor.alerts.a.quality.metric: auc needs labels'),
  ])
})
