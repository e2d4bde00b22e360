/**
 * A reference profile: what a pipeline's features and scores are compared with. Kind `profile`, name `<pipeline>/<profile>`. Its content
 * never changes; a new reference is a new profile. At most one of a pipeline is accepted: accepting one supersedes the one before, and
 * scores keep the name of the profile they were computed with.
 */
export interface ProfileEntry {
  readonly pipeline: string
  readonly profile: string
  readonly state: 'proposed' | 'accepted' | 'superseded'
  /** SHA-256 of the content as canonical JSON, hex. */
  readonly digest: string
  readonly content: ReferenceProfile
}

export interface ReferenceProfile {
  readonly model: string
  /** Digest of the feature set: panes are computed for predictions with this one. */
  readonly featureSet: string
  readonly source:
    | { readonly kind: 'file'; readonly name: string; readonly sha256: string }
    /** Event times, epoch ms, from ≤ t < to; null = every version. */
    | { readonly kind: 'predictions'; readonly from: number; readonly to: number; readonly modelVersion: string | null }
  readonly rows: number
  /** The features in the order of the feature set, then the score (when the reference has one). */
  readonly subjects: readonly SubjectProfile[]
  /**
   * What each segment had, by the same bins: a segment is compared with itself, because segments differ by nature. One that is not
   * here has no reference, and its windows are `insufficient_data`. Of many segments only those with the most rows; none (or absent) when
   * the reference does not name segments.
   */
  readonly segments?: readonly SegmentProfile[]
  /** Null when there are fewer than two features with a variance, or more than 64. */
  readonly moments: ReferenceMoments | null
  /** Null when the reference has no labels: then nothing can be said of quality before labels come. */
  readonly calibration: Calibration | null
  /** How far the reference's own windows lie from it; null (or absent) when its rows have no times, or fill fewer than four windows. */
  readonly windows?: ReferenceWindows | null
}

/**
 * Of the windows that the reference has the whole time of, aligned as those that are scored: each compared with the reference without it. Windows of one reference
 * differ by more than chance, because a week is not drawn from a quarter at random: what they show of themselves is no drift.
 */
export interface ReferenceWindows {
  readonly windowMs: number
  /** A window with fewer rows is not among them; of very many windows not all are. */
  readonly minRows: number
  /** '*' (all rows) first, then those of `segments`, in their order. */
  readonly segments: readonly SegmentSpread[]
}

export interface SegmentSpread {
  readonly segment: string
  /** Of each of the profile's subjects, in their order: by metric. Of χ², of its value per effective row, 1 / (1/n + 1/m). */
  readonly subjects: readonly Readonly<Record<string, Spread>>[]
  /** Of the reconstruction error's change; null without moments. */
  readonly structure: Spread | null
}

/** Mean, standard deviation (ddof 0) and largest of a metric over so many windows, at least four. */
export type Spread = readonly [windows: number, mean: number, std: number, largest: number]

export interface SegmentProfile {
  readonly segment: string
  readonly rows: number
  /** Of each of the profile's subjects, in their order: counts by its bins or values. */
  readonly counts: readonly (readonly number[])[]
  /** As the profile's `moments.products` (same positions, mean and std), of the segment's rows; empty without moments. */
  readonly products: readonly number[]
}

export type SubjectProfile = NumericProfile | ValuesProfile

interface SubjectBase {
  /** Of the feature; `score` for the score (kind `score` tells them apart). */
  readonly name: string
  readonly subject: 'feature' | 'score'
  /** Place in `features` of a prediction, from 0; -1 for the score. */
  readonly position: number
  /** Of the values that are not missing; 0 when all are. */
  readonly mean: number
  /** Population standard deviation (ddof 0). */
  readonly std: number
  /** Null when every value is missing. */
  readonly min: number | null
  readonly max: number | null
}

/** `bins` bins of equal `width` from `lo`. Counts: below, the bins, above, missing: `bins + 3` of them. A value on an edge is above it. */
export interface NumericProfile extends SubjectBase {
  readonly kind: 'numeric'
  readonly lo: number
  /** Positive, also for a constant feature. */
  readonly width: number
  readonly bins: number
  readonly counts: readonly number[]
}

/** Counts: one for each of `values`, then the other values that the reference has, those that it does not have, missing. */
export interface ValuesProfile extends SubjectBase {
  readonly kind: 'values'
  /** The most frequent values, most frequent first. */
  readonly values: readonly number[]
  /** What the reference has besides, ascending. */
  readonly others: readonly number[]
  /** What the values mean: of a category its names, by value; null = they are numbers. */
  readonly names: readonly string[] | null
  readonly counts: readonly number[]
}

/** Of values standardised by mean and std of the reference, a missing one counting as the mean (0). */
export interface ReferenceMoments {
  readonly rows: number
  /** Positions of the features that have a variance. */
  readonly positions: readonly number[]
  /** Mean of x·xᵀ, upper triangle row by row. */
  readonly products: readonly number[]
}

/** Isotonic regression of the label on the score: between knots linear, outside constant. */
export interface Calibration {
  readonly scores: readonly number[]
  readonly probabilities: readonly number[]
}
