import type { NumericProfile, ReferenceProfile, SubjectProfile } from '../../schemas/control/profiles.ts'
import type { MomentWindow, SubjectWindow } from '../../sinks/drift/scores/read-windows.ts'
import { countNumeric, type Planted } from './drift-data.ts'

const PANES = 12

/** One window of records as it is read from ClickHouse, in twelve panes of equal size. */
export function windowsOf(
  content: ReferenceProfile,
  rows: readonly (Planted & { readonly segment: string })[],
  weights: readonly number[],
): { readonly subjects: readonly SubjectWindow[]; readonly moments: readonly MomentWindow[] } {
  const segments = ['*', ...new Set(rows.map(({ segment }) => segment))]
  const subjects: SubjectWindow[] = []
  const moments: MomentWindow[] = []
  for (const segment of segments) {
    const own = segment === '*' ? rows : rows.filter((row) => row.segment === segment)
    const key = { version: '1', role: 'primary', segment, window: 0 }
    for (const profile of content.subjects) {
      const { subject, position } = profile
      subjects.push({ ...key, subject, position, n: own.length, counts: countsOf(profile, own) })
    }
    moments.push({ ...key, ...momentsOf(content, own, weights) })
  }
  return { subjects, moments }
}

function countsOf(profile: SubjectProfile, rows: readonly Planted[]): number[] {
  const values = rows.map(({ features, score }) => (profile.position < 0 ? score : features[profile.position]!))
  if (profile.kind === 'numeric') return countNumeric(profile, values)
  const counts = profile.counts.map(() => 0)
  for (const value of values) {
    const place = profile.values.indexOf(value)
    counts[Number.isNaN(value) ? counts.length - 1 : place < 0 ? counts.length - 2 : place]! += 1
  }
  return counts
}

function momentsOf({ subjects, moments }: ReferenceProfile, rows: readonly Planted[], weights: readonly number[]) {
  const scales = (moments?.positions ?? []).map((position) => subjects[position] as NumericProfile)
  const products = weights.map(() => 0)
  const panes = { r: 0, rr: 0, rn: 0, nn: 0 }
  for (let pane = 0; pane < PANES; pane++) {
    const own = rows.filter((_, at) => at % PANES === pane)
    let r = 0
    for (const { features } of own) {
      const z = scales.map(({ position, mean, std }) => {
        const value = (features[position]! - mean) / std
        return Number.isNaN(value) ? 0 : value
      })
      let at = 0
      for (let i = 0; i < z.length; i++) {
        for (let j = i; j < z.length; j++) {
          const product = z[i]! * z[j]!
          products[at]! += product
          r += weights[at++]! * product
        }
      }
    }
    panes.r += r
    panes.rr += r * r
    panes.rn += r * own.length
    panes.nn += own.length * own.length
  }
  return { n: rows.length, products, panes: PANES, ...panes }
}
