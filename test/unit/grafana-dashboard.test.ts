import { expect, test } from 'vitest'
import { readDashboard } from '../support/grafana-dashboard.ts'

const dashboard = readDashboard()
const { panels, templating, annotations } = dashboard
const PLUGIN = 'grafana-clickhouse-datasource'
/** Those that Grafana has by itself. */
const PANELS = ['stat', 'timeseries', 'status-history', 'table', 'barchart', 'xychart']

test('the dashboard is one that Grafana imports', () => {
  expect(dashboard).toMatchObject({ uid: 'millrace', title: expect.stringMatching(/./) })
  expect(dashboard.schemaVersion).toBeGreaterThanOrEqual(36)
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length)
  for (const panel of panels) {
    expect(PANELS, panel.title).toContain(panel.type)
    expect(panel.description, panel.title).not.toBe('')
    expect(panel.datasource).toEqual({ type: PLUGIN, uid: `$\{datasource}` })
    expect(panel.targets).toHaveLength(1)
    for (const target of panel.targets) {
      const isSeries = target.queryType === 'timeseries'
      expect(target).toMatchObject({ refId: 'A', format: isSeries ? 0 : 1, datasource: panel.datasource })
      expect(/ AS time\b/.test(target.rawSql), panel.title).toBe(isSeries)
    }
  }
})

test('panels stand side by side: none over another, none beyond the edge', () => {
  const taken = new Map<string, string>()
  for (const { title, gridPos } of panels) {
    expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24)
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
        expect(taken.get(`${x}/${y}`), title).toBeUndefined()
        taken.set(`${x}/${y}`, title)
      }
    }
  }
})

test('variables are defined before they are used, and are used', () => {
  const known = new Set<string>()
  const used = (text: string): readonly string[] => [...text.matchAll(/\$\{(\w+)\}/g)].map(([, name]) => name ?? '')
  for (const { name, type, query } of templating.list) {
    expect(['datasource', 'query']).toContain(type)
    for (const other of used(query)) expect(known, name).toContain(other)
    known.add(name)
  }
  const everywhere = new Set(used(JSON.stringify([panels, annotations])))
  expect([...everywhere].toSorted()).toEqual([...known].toSorted())
})
