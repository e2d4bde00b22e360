import { eventIdPlace, type VectorColumns } from '../infra/runtime/vectors.ts'
import { entityBucket } from './rollout/entity-bucket.ts'
import type { RouteShare } from './rollout/routes.ts'

/** Whether a vector's entity is in the share: by its key, or by its event id where it has none. */
export function isInShare({ weight, seed }: RouteShare, { keys, values }: VectorColumns, row: number): boolean {
  const length = keys.lengths[row] as number
  if (length >= 0) {
    const start = keys.starts[row] as number
    return entityBucket(keys.bytes, start, start + length, seed) < weight
  }
  const [from, to] = eventIdPlace(values, row)
  return entityBucket(values.bytes, from, to, seed) < weight
}
