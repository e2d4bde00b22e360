import type { CompiledPipeline } from '../schemas/pipeline/compiled.ts'
import type { DecodedRows } from './compile/decoded-rows.ts'
import { lookupValue, type UsableRow } from './compile/features.ts'
import type { LookupFeature, LookupSites } from './compile/lookup-sites.ts'
import { type FoundRows, type Tables, usableAt } from './lookups/tables.ts'

interface Lane {
  readonly batch: { readonly length: number }
  readonly rows: DecodedRows
}

/**
 * Fills the lookup features of decoded rows, all table rows of a call read at once. Rejects with a `retry` error of the
 * tables.
 */
export function createLookupColumns(
  pipeline: CompiledPipeline,
  { sites, siteOf }: LookupSites,
  tables: Tables,
): (lanes: readonly Lane[]) => Promise<void> {
  const width = pipeline.features.length
  const maxAgeMs = new Map(pipeline.tables.map((table) => [table.name, table.maxAgeMs]))
  const bySite = sites.map((site, at) => ({
    ...site,
    maxAgeMs: maxAgeMs.get(site.table) ?? 0,
    columns: pipeline.features.flatMap((feature, index) =>
      feature.kind === 'lookup' && siteOf(feature) === at ? [{ feature, index }] : [],
    ),
  }))

  function wanted(lanes: readonly Lane[]): ReadonlyMap<string, ReadonlySet<string>> {
    const keys = new Map<string, Set<string>>(sites.map(({ table }) => [table, new Set<string>()]))
    for (const { batch, rows } of lanes) {
      for (const [at, { table }] of sites.entries()) {
        const ofSite = rows.keys[at] as (string | null)[]
        const ofTable = keys.get(table) as Set<string>
        for (let row = 0; row < batch.length; row++) {
          const key = ofSite[row] as string | null
          if (rows.decoded[row] === 1 && key !== null) ofTable.add(key)
        }
      }
    }
    return new Map([...keys].filter(([, ofTable]) => ofTable.size > 0))
  }

  function fill({ batch, rows }: Lane, found: FoundRows): void {
    for (const [at, { table, maxAgeMs: maxAge, columns }] of bySite.entries()) {
      const keys = rows.keys[at] as (string | null)[]
      for (let row = 0; row < batch.length; row++) {
        if (rows.decoded[row] !== 1) continue
        const key = keys[row] as string | null
        const usable = key === null ? null : usableAt(found.row(table, key), rows.times[row] as number, maxAge)
        for (const { feature, index } of columns) fillOne(rows, row, row * width + index, feature, usable)
      }
    }
  }

  return async (lanes) => {
    if (sites.length === 0) return
    const keys = wanted(lanes)
    if (keys.size === 0) {
      for (const lane of lanes) fill(lane, { row: () => null })
      return
    }
    const found = await tables.fetch(keys)
    for (const lane of lanes) fill(lane, found)
  }
}

function fillOne(rows: DecodedRows, row: number, at: number, feature: LookupFeature, usable: UsableRow): void {
  const value = lookupValue(usable, feature.column)
  const failed = value !== null && Number.isNaN(value)
  rows.features[at] = value === null || failed ? feature.missing : value
  if (failed) rows.degraded[row] = 1
}
