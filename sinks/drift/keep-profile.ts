import type { ClickHouseClient } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import type { DriftPart } from './drift-part.ts'
import type { KnownProfile } from './profiles/profile-entries.ts'
import { storeProfile } from './profiles/store-profile.ts'

/** Keeps the profile in force where its panes and scores are: in `feature_profiles`. */
export function createProfileKeeper(
  clickhouse: Pick<ClickHouseClient, 'insert'>,
  accepted: () => KnownProfile | null,
): DriftPart {
  let stored: string | null = null
  return {
    name: 'profile',
    begin() {
      stored = null
    },
    async round() {
      const known = accepted()
      if (known === null || known.entry.profile === stored) return false
      await storeProfile(clickhouse, known)
      stored = known.entry.profile
      return false
    },
  }
}
