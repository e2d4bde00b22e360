import { readFileSync } from 'node:fs'
import path from 'node:path'

export const GRAFANA = path.resolve('infra/grafana')

interface Source {
  readonly type: string
  readonly uid: string
}

interface Target {
  readonly refId: string
  readonly queryType: string
  readonly format: number
  readonly rawSql: string
  readonly datasource?: Source
}

export interface Panel {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly description: string
  readonly datasource: Source
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly targets: readonly Target[]
}

interface Variable {
  readonly name: string
  readonly type: string
  readonly query: string
  readonly current: { readonly text?: string; readonly value?: string }
}

export interface Dashboard {
  readonly uid: string
  readonly title: string
  readonly schemaVersion: number
  readonly templating: { readonly list: readonly Variable[] }
  readonly annotations: { readonly list: readonly { readonly name: string; readonly target: Target }[] }
  readonly panels: readonly Panel[]
}

export function readDashboard(): Dashboard {
  return JSON.parse(readFileSync(path.join(GRAFANA, 'millrace.json'), 'utf8')) as Dashboard
}

/** SQL as Grafana and its ClickHouse plugin send it; times are epoch ms. Throws on what none of the two would fill in. */
export function filledIn(
  sql: string,
  variables: Readonly<Record<string, string>>,
  { from, to }: { readonly from: number; readonly to: number },
): string {
  const time = (ms: number): string => `toDateTime(intDiv(${ms}, 1000))`
  const filled = sql
    .replaceAll(
      /\$__timeFilter\((\w+)\)/g,
      (_, column: string) => `${column} >= ${time(from)} AND ${column} <= ${time(to)}`,
    )
    .replaceAll(/\$\{(\w+)\}/g, (whole, name: string) => variables[name] ?? whole)
  if (/\$__|\$\{/.test(filled)) throw new Error(`something is not filled in: ${filled}`)
  return filled
}
