import type {
  NumericProfile,
  ReferenceMoments,
  ReferenceProfile,
  SubjectProfile,
} from '../../../schemas/control/profiles.ts'

/**
 * A profile's counts as SQL: reference and panes count by the same expressions, so that equal values are in equal bins. All of it is
 * computed in Float64, of which every Float32 is one.
 */

/** Columns of `predictions`, or expressions in their place. */
export interface PredictionColumns {
  /** Array(Float32) */
  readonly features: string
  /** Float32 */
  readonly score: string
}

export const PREDICTION_COLUMNS: PredictionColumns = { features: 'features', score: 'score' }

/** The value that the subject counts: Float64, NaN = missing. */
export function valueSql(
  { subject, position }: Pick<SubjectProfile, 'subject' | 'position'>,
  columns: PredictionColumns,
): string {
  return `toFloat64(${subject === 'score' ? columns.score : `${columns.features}[${position + 1}]`})`
}

/** Which of the subject's counts its value belongs to, from 0: UInt16. */
export function countIndexSql(profile: SubjectProfile, columns: PredictionColumns): string {
  const x = valueSql(profile, columns)
  const missing = profile.counts.length - 1
  return `toUInt16(if(isNaN(${x}), ${missing}, ${profile.kind === 'numeric' ? binSql(profile, x) : knownSql(profile, x)}))`
}

/** How often each of the subject's counts was hit: an aggregate, Array(UInt64) in the order of `counts`. */
export function countsSql(profile: SubjectProfile, columns: PredictionColumns): string {
  return `countResample(0, ${profile.counts.length}, 1)(${countIndexSql(profile, columns)})`
}

function binSql({ lo, width, bins }: NumericProfile, x: string): string {
  return `greatest(0, least(${bins + 1}, 1 + floor((${x} - ${float(lo)}) / ${float(width)})))`
}

function knownSql({ values, others }: Extract<SubjectProfile, { kind: 'values' }>, x: string): string {
  // 0 and -0 are the same value, with other bits
  const value = `if(${x} = 0, 0., ${x})`
  const unseen = values.length + 1
  const rest =
    others.length === 0 ? `${unseen}` : `if(${value} IN (${others.map(float).join(', ')}), ${values.length}, ${unseen})`
  if (values.length === 0) return rest
  const to = `CAST([${values.map((_, index) => index).join(', ')}], 'Array(UInt16)')`
  return `transform(${value}, [${values.map(float).join(', ')}], ${to}, toUInt16(${rest}))`
}

/**
 * The features of the moments, each standardised by the profile's mean and std, what is missing or infinite being 0: an expression each,
 * in the order of `positions`.
 */
export function standardisedSql(
  { subjects, moments }: Pick<ReferenceProfile, 'subjects'> & { readonly moments: Pick<ReferenceMoments, 'positions'> },
  columns: PredictionColumns,
): readonly string[] {
  const features = new Map(subjects.filter(({ subject }) => subject === 'feature').map((each) => [each.position, each]))
  return moments.positions.map((position) => {
    const profile = features.get(position)
    if (profile === undefined) throw new RangeError(`the profile has no feature ${position}, and moments of it`)
    const x = valueSql(profile, columns)
    return `if(isFinite(${x}), (${x} - ${float(profile.mean)}) / ${float(profile.std)}, 0.)`
  })
}

/** Sums of the products of these columns, upper triangle row by row: an aggregate, Array(Float64). `sum`: the function that adds up. */
export function productSumsSql(columns: readonly string[], sum: 'sum' | 'sumKahan' = 'sum'): string {
  const sums = columns.flatMap((left, index) => columns.slice(index).map((right) => `${sum}(${left} * ${right})`))
  return `[${sums.join(', ')}]`
}

/** A literal that is a Float64 whatever its value. */
function float(value: number): string {
  if (!Number.isFinite(value)) throw new RangeError(`${value} is not a value of a profile`)
  const text = String(value)
  return /[.e]/.test(text) ? text : `${text}.`
}
