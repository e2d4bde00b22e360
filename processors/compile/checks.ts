import type { CompiledCheck } from '../../schemas/pipeline/compiled.ts'
import { argumentsOf, callUserCode, type EventRecord, type StepFailure } from './step.ts'

/** Runs the pipeline's checks in their order; the first that fails names the reason. Null = all passed. */
export function compileChecks(checks: readonly CompiledCheck[]): (event: EventRecord) => StepFailure | null {
  const steps = checks.map((check) => ({ ...check, values: argumentsOf(check.fields) }))
  return (event) => {
    for (const { name, fields, test, values } of steps) {
      const result = callUserCode<unknown>(`check ${name}`, test, values(event))
      if (!result.ok) return result.failure
      // A promise, for one, is truthy: whatever is no boolean would pass unseen.
      if (typeof result.value !== 'boolean') {
        return { reason: 'step_error', message: `check ${name} answered ${typeof result.value}, not true or false` }
      }
      if (!result.value) return { reason: name, message: `check ${name} failed on ${fields.join(', ')}` }
    }
    return null
  }
}
