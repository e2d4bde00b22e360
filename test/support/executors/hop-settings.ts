import type { OriginOf } from '../../../infra/runtime/kafka/hop/unended.ts'
import type { BatchHandler } from '../../../infra/runtime/kafka/outcome.ts'
import type { SeededRandom } from '../seeded-random.ts'

/** What hop-process.ts is told. */
export interface HopSettings {
  readonly brokers: readonly string[]
  readonly group: string
  readonly input: string
  readonly output: string
  readonly deadLetters: string
  /** As in its dead letters and its fences. */
  readonly stage: string
  /** Static membership; null = it is a new member each time. */
  readonly member: string | null
  readonly sessionTimeoutMs: number
  /** Path of a module, from the root, that exports a `createHandler`. */
  readonly handler: string
  /** For the handler alone. */
  readonly given: Readonly<Record<string, string>>
  /** Of this process: the next one draws other numbers. */
  readonly seed: number
  /** Once its handler has finished so many batches, it kills itself as soon as one of them waits for an earlier one; null = never. */
  readonly killWaitingAfter: number | null
}

/** The handler of a process; what it is made of may be as real as it likes. */
export type CreateHandler = (context: {
  /** Topic id of the input. */
  readonly generation: string
  /** Name of the output that it emits to. */
  readonly output: string
  readonly random: SeededRandom
  readonly given: HopSettings['given']
}) => Promise<{
  readonly handler: BatchHandler
  /** Coordinates in the events topic of an input record; by default its own. */
  readonly originOf?: OriginOf
  close?(): Promise<void>
}>
