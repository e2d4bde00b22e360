import type { ReferenceProfile, SubjectProfile } from '../../../schemas/control/profiles.ts'
import { benjaminiHochberg } from '../statistics/benjamini-hochberg.ts'
import { ownSpreads, type ThresholdScore } from './own-spread.ts'
import { FALSE_DISCOVERY_RATE } from './practical-thresholds.ts'
import type { MomentWindow, SubjectWindow } from './read-windows.ts'
import { createSubjectScorer } from './score-subject.ts'
import { createStructureScorer, type StructureScore } from './structure.ts'

/** What was scored in one window: a feature, the score, or all features together ('*'). */
export interface ScoredSubject {
  readonly version: string
  readonly role: string
  readonly segment: string
  /** Start, epoch ms. */
  readonly window: number
  readonly feature: string
  readonly subject: 'feature' | 'score'
  readonly params: Readonly<Record<string, string>>
  readonly scores: readonly JudgedScore[]
}

/** A score after the correction. */
export interface JudgedScore extends ThresholdScore {
  /** p-value, adjusted for everything that was tested in the window; null = not tested, because there is too little. */
  readonly adjusted: number | null
  readonly drift: boolean
}

export interface WindowScorer {
  /** What the sums over products of moments are to be weighted by; null = the profile has no moments. */
  readonly weights: readonly number[] | null
  /**
   * All scores of these windows. p-values are corrected over the features, segments and tests of one window, version and role: of its flags
   * at most one in twenty is a false alarm on average, and if nothing has drifted at most one window in twenty has any.
   */
  score(subjects: readonly SubjectWindow[], moments: readonly MomentWindow[]): readonly ScoredSubject[]
}

const ALL = '*'

/** Before the correction. */
interface Measured extends Omit<ScoredSubject, 'scores'> {
  readonly scores: readonly ThresholdScore[]
}

export function createWindowScorer(content: ReferenceProfile, minRows: number): WindowScorer {
  const subjectScorer = createSubjectScorer(minRows)
  const spreads = ownSpreads(content)
  const structure = content.moments === null ? null : createStructureScorer(content.moments, minRows)
  const places = new Map(content.subjects.map((profile, place) => [placeKey(profile), place]))
  const segments = new Map(content.segments?.map((segment) => [segment.segment, segment]))
  const none = content.subjects.map(({ counts }) => counts.map(() => 0))
  const noProducts: readonly number[] = []

  function referenceCounts(segment: string, place: number): readonly number[] {
    if (segment === ALL) return content.subjects[place]?.counts ?? []
    return segments.get(segment)?.counts[place] ?? none[place] ?? []
  }

  function ofSubject(row: SubjectWindow): Measured | null {
    const place = places.get(placeKey(row))
    const profile = place === undefined ? undefined : content.subjects[place]
    if (profile === undefined || place === undefined) return null
    const { version, role, segment, window } = row
    // a pane that was emptied has no counts
    const current = row.counts.length === 0 ? (none[place] ?? []) : row.counts
    const sides = { reference: referenceCounts(segment, place), current }
    const scores = spreads.ofSubject(segment, place, subjectScorer.score(profile, sides))
    return { version, role, segment, window, feature: profile.name, subject: row.subject, params: NO_PARAMS, scores }
  }

  function ofMoments(row: MomentWindow): Measured | null {
    if (structure === null || content.moments === null) return null
    const { version, role, segment, window } = row
    const own = segments.get(segment)
    const reference =
      segment === ALL
        ? content.moments
        : { products: own?.products ?? noProducts, rows: own !== undefined && own.products.length > 0 ? own.rows : 0 }
    const score = structure.score(row, reference)
    const key = { version, role, segment, window, feature: ALL, subject: 'feature' } as const
    return { ...key, params: structureParams(score), scores: [spreads.ofStructure(segment, score)] }
  }

  function structureParams({ error, referenceError }: StructureScore): Record<string, string> {
    return {
      error: String(error),
      reference_error: String(referenceError),
      components: String(structure?.components),
      explained: String(structure?.explained),
      contributions_of: (content.moments?.positions ?? [])
        .map((position) => nameAt(content.subjects, position))
        .join(','),
    }
  }

  return {
    weights: structure?.weights ?? null,
    score(subjects, moments) {
      const measured = [...subjects.map(ofSubject), ...moments.map(ofMoments)]
      return corrected(measured.filter((each) => each !== null))
    },
  }
}

const NO_PARAMS = {}

/** Metrics of a subject that share a test are one hypothesis. */
function corrected(measured: readonly Measured[]): readonly ScoredSubject[] {
  const families = new Map<string, number[]>()
  const judged = measured.map((subject) => {
    const name = `${subject.window}/${subject.role}/${subject.version}`
    const family = families.get(name) ?? []
    families.set(name, family)
    // where in the family the p-value of each score is; -1 = not tested
    const places: number[] = []
    for (const [at, { test, pValue }] of subject.scores.entries()) {
      const first = subject.scores.findIndex((score) => score.test === test)
      places.push(pValue === null ? -1 : first < at ? places[first]! : family.push(pValue) - 1)
    }
    return { subject, name, places }
  })
  const adjusted = new Map(
    [...families].map(([name, family]) => [name, benjaminiHochberg(family, FALSE_DISCOVERY_RATE).adjusted]),
  )
  return judged.map(({ subject, name, places }) => {
    const values = adjusted.get(name) ?? []
    const scores = subject.scores.map((score, at): JudgedScore => {
      const value = values[places[at]!] ?? null
      const drift = value !== null && value <= FALSE_DISCOVERY_RATE && score.value > score.threshold
      return { ...score, adjusted: value, drift }
    })
    return { ...subject, scores }
  })
}

function placeKey({ subject, position }: Pick<SubjectProfile, 'subject' | 'position'>): string {
  return `${subject}/${position}`
}

function nameAt(subjects: readonly SubjectProfile[], position: number): string {
  return subjects.find((each) => each.subject === 'feature' && each.position === position)?.name ?? String(position)
}
