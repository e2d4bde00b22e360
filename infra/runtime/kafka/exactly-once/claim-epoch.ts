import type { ProducerIdentity } from '../protocol/init-producer-id.ts'
import type { FencedPartition, Fencing } from './fencing.ts'

/** A partition that this process alone may write. */
export interface OwnedPartition extends FencedPartition {
  readonly producer: ProducerIdentity
  /** Offset of the marker: every other writer's records are below it. */
  readonly marker: number
}

/**
 * Nobody writes with this epoch or a higher one. The last epoch of an id is 32,766; the claim after it gets another id, whose marker does
 * not fence the holders of the old one. So whoever gets one of the last epochs fences with it, asks until the id has changed, and
 * fences again; only if the last 267 claimers of an id had all died before their fence would a holder be left out.
 */
const LAST_EPOCHS_FROM = 32_500

/** Fences with an epoch that was just bumped. */
export async function ownPartition(
  fencing: Fencing,
  target: FencedPartition,
  bumped: ProducerIdentity,
  signal: AbortSignal,
): Promise<OwnedPartition> {
  const marker = await fencing.fence(target, bumped, signal)
  if (bumped.epoch < LAST_EPOCHS_FROM) return { ...target, producer: bumped, marker }
  let producer = bumped
  while (producer.id === bumped.id) producer = await fencing.bumpEpoch(target, signal)
  return { ...target, producer, marker: await fencing.fence(target, producer, signal) }
}
