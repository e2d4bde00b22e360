import type { Cursor } from '../cursor.ts'

export interface GoldenRow {
  /** [features]; null = missing (NaN). */
  readonly features: readonly (number | null)[]
  /** [width] */
  readonly outputs: readonly number[]
}

export function readGoldenRows(list: Cursor, featureCount: number | null, width: number | null): readonly GoldenRow[] {
  const members = list.list() ?? []
  if (list.given && members.length === 0) list.problem('at least one golden row is needed, to verify the model with')
  return members.map((member) => {
    const row = member.object(['features', 'outputs'])
    return {
      features: readRow(row?.features, featureCount, (cell) => (cell.value === null ? null : cell.number())),
      outputs: readRow(row?.outputs, width, (cell) => cell.number() ?? Number.NaN),
    }
  })
}

function readRow<T>(list: Cursor | undefined, length: number | null, read: (cell: Cursor) => T): readonly T[] {
  const cells = list?.list() ?? []
  if (list?.given && length !== null && cells.length !== length) {
    list.problem(`${cells.length} numbers where ${length} are expected`)
  }
  return cells.map(read)
}
