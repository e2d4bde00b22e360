import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import type { SubjectProfile } from '../../../schemas/control/profiles.ts'
import type { KnownProfile } from './profile-entries.ts'

const COLUMNS =
  `pipeline profile feature subject position kind lo width bins edges values others labels counts rows mean std model
  feature_set created_at`.split(/\s+/)

/** Writes the profile into `feature_profiles`, a row per subject. Safe to repeat: the same profile has the same rows. */
export async function storeProfile(
  clickhouse: Pick<ClickHouseClient, 'insert'>,
  { entry, at }: KnownProfile,
): Promise<void> {
  const { pipeline, profile, content } = entry
  const { rows, model, featureSet } = content
  const shared = { pipeline, profile, rows, model, feature_set: featureSet, created_at: at }
  const stored = content.subjects.map((subject) => ({ ...shared, ...columnsOf(subject) }))
  await clickhouse.insert('feature_profiles', COLUMNS, stored)
}

function columnsOf(profile: SubjectProfile): object {
  const { name: feature, subject, position, kind, counts, mean, std } = profile
  const same = { feature, subject, position, kind, counts, mean, std, labels: countLabels(profile) }
  if (profile.kind === 'values') {
    return { ...same, lo: 0, width: 0, bins: 0, edges: [], values: profile.values, others: profile.others }
  }
  const { lo, width, bins } = profile
  return { ...same, lo, width, bins, edges: edgesOf(profile), values: [], others: [] }
}

/** The bins' edges, ascending; `bins + 1` of them. */
function edgesOf({
  lo,
  width,
  bins,
}: {
  readonly lo: number
  readonly width: number
  readonly bins: number
}): number[] {
  return Array.from({ length: bins + 1 }, (_, edge) => lo + edge * width)
}

/** What each of the counts counts, in words. */
export function countLabels(profile: SubjectProfile): readonly string[] {
  if (profile.kind === 'values') {
    const { values, names } = profile
    return [...values.map((value) => names?.[value] ?? shown(value)), 'others', 'unseen', 'missing']
  }
  const edges = edgesOf(profile).map(shown)
  const bins = edges.slice(1).map((edge, bin) => `${edges[bin]} to ${edge}`)
  return [`below ${edges[0]}`, ...bins, `${edges.at(-1)} and above`, 'missing']
}

/** As many digits as a float32 has. */
function shown(value: number): string {
  return String(Number(value.toPrecision(7)))
}
