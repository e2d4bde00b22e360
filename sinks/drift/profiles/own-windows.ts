import type { ReferenceProfile, ReferenceWindows, SegmentSpread, Spread } from '../../../schemas/control/profiles.ts'
import { perRow, spreadOf } from '../scores/own-spread.ts'
import { createSubjectScorer, type MetricScore } from '../scores/score-subject.ts'
import { createStructureScorer } from '../scores/structure.ts'

/** What a part of the reference had: a segment, a window, or all of it. */
export interface PartCounts {
  readonly segment: string
  readonly rows: number
  /** Of each subject, in the order of the profile. */
  readonly counts: readonly (readonly number[])[]
  /** Sums; empty without moments. */
  readonly products: readonly number[]
}

type Whole = Pick<ReferenceProfile, 'rows' | 'subjects' | 'segments' | 'moments'>

/**
 * How far each of these windows lies from the reference without it, whose counts are the whole's less the window's. Windows of segments
 * that the profile does not have ('*' = all rows) are passed over. Null when no metric has enough windows.
 */
export function spreadOfWindows(
  whole: Whole,
  windows: readonly PartCounts[],
  { windowMs, minRows }: Pick<ReferenceWindows, 'windowMs' | 'minRows'>,
): ReferenceWindows | null {
  const scorer = createSubjectScorer(minRows)
  const structure = whole.moments === null ? null : createStructureScorer(whole.moments, minRows)

  function ofSegment({ segment, rows, counts, products }: PartCounts): SegmentSpread {
    const own = windows.filter((window) => window.segment === segment && window.rows >= minRows)
    const subjects = whole.subjects.map((profile, place) => {
      const values = new Map<string, number[]>()
      const all = counts[place] ?? []
      for (const window of own) {
        const current = window.counts[place] ?? []
        const reference = all.map((count, bin) => count - (current[bin] ?? 0))
        for (const score of scorer.score(profile, { reference, current })) {
          const known = values.get(score.metric) ?? []
          values.set(score.metric, known)
          if (isKnown(score)) known.push(perRow(score))
        }
      }
      const spreads = [...values].map(([metric, known]) => [metric, spreadOf(known)] as const)
      return Object.fromEntries(spreads.filter((each): each is [string, Spread] => each[1] !== null))
    })
    if (structure === null) return { segment, subjects, structure: null }
    const scores = own.map((window) => {
      const left = rows - window.rows
      const reference = {
        products: products.map((mean, at) => (mean * rows - (window.products[at] ?? 0)) / left),
        rows: left,
      }
      // as one pane: only the value is asked for
      const sums = { panes: 1, r: 0, rr: 0, rn: 0, nn: 0 }
      return structure.score({ ...KEY, ...sums, segment, n: window.rows, products: window.products }, reference)
    })
    return { segment, subjects, structure: spreadOf(scores.filter(isKnown).map(perRow)) }
  }

  const all: PartCounts = {
    ...{ segment: '*', rows: whole.rows, counts: whole.subjects.map(({ counts }) => counts) },
    products: whole.moments?.products ?? [],
  }
  const segments = [all, ...(whole.segments ?? [])].map(ofSegment)
  const isEmpty = segments.every(
    ({ subjects, structure: own }) => own === null && subjects.every((each) => Object.keys(each).length === 0),
  )
  return isEmpty ? null : { windowMs, minRows, segments }
}

const KEY = { version: '', role: '', window: 0 }

function isKnown({ pValue, value }: MetricScore): boolean {
  return pValue !== null && Number.isFinite(value)
}
