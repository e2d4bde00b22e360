import { fatal } from '../../infra/runtime/errors.ts'
import type { BatchHandler, Outcome } from '../../infra/runtime/kafka/outcome.ts'
import type { DeadLetter } from '../../schemas/generated/records.ts'
import { createTableSink, type TableSinkDeps } from './table-sink.ts'

/**
 * Stores dead letters. One that cannot be stored must not become a dead letter of its own, which would come back here:
 * the process stops with `dead_letter_unstorable` (crash), and what lies before it is read again.
 */
export function createDeadLetterSink(deps: TableSinkDeps<DeadLetter>): BatchHandler {
  const sink = createTableSink(deps)
  return { handle: (outcomes) => sink.handle(outcomes.map(withoutRejects)) }
}

function withoutRejects(outcome: Outcome): Outcome {
  const { batch } = outcome
  return {
    ...outcome,
    reject(index, { reason, message }) {
      const where = `${batch.topic}/${batch.partition} offset ${batch.offset(index)}`
      throw fatal('dead_letter_unstorable', `the dead letter at ${where} cannot be stored (${reason}): ${message}`)
    },
  }
}
