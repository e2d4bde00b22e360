import type { ReferenceProfile, SubjectProfile } from '../../../schemas/control/profiles.ts'
import { benjaminiHochberg } from '../statistics/benjamini-hochberg.ts'
import { FALSE_DISCOVERY_RATE } from './practical-thresholds.ts'
import type { MomentWindow, SubjectWindow } from './read-windows.ts'
import { createSubjectScorer, type MetricScore } from './score-subject.ts'
import { createStructureScorer, type StructureScore } from './structure.ts'

/** A score, with what it stands for. */
export interface WindowScore extends MetricScore {
  readonly version: string
  readonly role: string
  readonly segment: string
  /** Start, epoch ms. */
  readonly window: number
  readonly feature: string
  readonly subject: 'feature' | 'score'
  /** True = there was enough to say something. */
  readonly isKnown: boolean
  readonly drift: boolean
  /** Adjusted for everything that was tested in the window; null = not tested. */
  readonly adjusted: number | null
  readonly params: Readonly<Record<string, string>>
}

export interface WindowScorer {
  /** What the sums over products of moments are to be weighted by; null = the profile has no moments. */
  readonly weights: readonly number[] | null
  /**
   * All scores of these windows. p-values are corrected over the features, segments and tests of one window, version and role: of its flags
   * at most one in twenty is a false alarm on average, and if nothing has drifted at most one window in twenty has any.
   */
  score(subjects: readonly SubjectWindow[], moments: readonly MomentWindow[]): readonly WindowScore[]
}

const ALL = '*'

type Scored = Omit<WindowScore, 'drift' | 'adjusted'>

export function createWindowScorer(content: ReferenceProfile, minRows: number): WindowScorer {
  const subjectScorer = createSubjectScorer(minRows)
  const structure = content.moments === null ? null : createStructureScorer(content.moments, minRows)
  const places = new Map(content.subjects.map((profile, place) => [placeKey(profile), place]))
  const segments = new Map(content.segments?.map((segment) => [segment.segment, segment]))
  const none = content.subjects.map(({ counts }) => counts.map(() => 0))
  const noProducts: readonly number[] = []

  function referenceCounts(segment: string, place: number): readonly number[] {
    if (segment === ALL) return content.subjects[place]?.counts ?? []
    return segments.get(segment)?.counts[place] ?? none[place] ?? []
  }

  function ofSubject(row: SubjectWindow): readonly Scored[] {
    const place = places.get(placeKey(row))
    const profile = place === undefined ? undefined : content.subjects[place]
    if (profile === undefined || place === undefined) return []
    const { version, role, segment, window } = row
    // a pane that was emptied has no counts
    const current = row.counts.length === 0 ? (none[place] ?? []) : row.counts
    const key = { version, role, segment, window, feature: profile.name, subject: row.subject }
    return subjectScorer.score(profile, { reference: referenceCounts(segment, place), current }).map((score) => ({
      ...key,
      ...score,
      isKnown: score.pValue !== null,
      params: SUBJECT_PARAMS[score.test],
    }))
  }

  function ofMoments(row: MomentWindow): readonly Scored[] {
    if (structure === null || content.moments === null) return []
    const { version, role, segment, window } = row
    const own = segments.get(segment)
    const reference =
      segment === ALL
        ? content.moments
        : { products: own?.products ?? noProducts, rows: own !== undefined && own.products.length > 0 ? own.rows : 0 }
    const score = structure.score(row, reference)
    const key = { version, role, segment, window, feature: ALL, subject: 'feature' } as const
    return [{ ...key, ...score, isKnown: score.pValue !== null, params: structureParams(score) }]
  }

  function structureParams({ error, referenceError }: StructureScore): Record<string, string> {
    return {
      test: 'structure',
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
      return corrected([...subjects.flatMap(ofSubject), ...moments.flatMap(ofMoments)])
    },
  }
}

const SUBJECT_PARAMS = {
  distribution: { test: 'chi_square', smoothing: 'jeffreys' },
  order: { test: 'kolmogorov_smirnov' },
  missing: { test: 'rates' },
  unseen: { test: 'rates' },
  structure: {},
} as const

/** Metrics that share a test are one hypothesis. */
function corrected(scores: readonly Scored[]): readonly WindowScore[] {
  const families = new Map<string, Map<string, number>>()
  const familyOf = ({ window, role, version }: Scored): string => `${window}/${role}/${version}`
  const testOf = ({ subject, feature, segment, test }: Scored): string => `${subject}/${test}/${feature}/${segment}`
  for (const score of scores) {
    if (score.pValue === null) continue
    const family = families.get(familyOf(score)) ?? new Map<string, number>()
    families.set(familyOf(score), family)
    family.set(testOf(score), score.pValue)
  }
  const adjusted = new Map(
    [...families].map(([name, tests]) => {
      const { adjusted: values } = benjaminiHochberg([...tests.values()], FALSE_DISCOVERY_RATE)
      return [name, new Map([...tests.keys()].map((test, at) => [test, values[at]!]))]
    }),
  )
  return scores.map((score) => {
    const value = score.pValue === null ? null : (adjusted.get(familyOf(score))?.get(testOf(score)) ?? null)
    const drift = value !== null && value <= FALSE_DISCOVERY_RATE && score.value > score.threshold
    return { ...score, adjusted: value, drift }
  })
}

function placeKey({ subject, position }: Pick<SubjectProfile, 'subject' | 'position'>): string {
  return `${subject}/${position}`
}

function nameAt(subjects: readonly SubjectProfile[], position: number): string {
  return subjects.find((each) => each.subject === 'feature' && each.position === position)?.name ?? String(position)
}
