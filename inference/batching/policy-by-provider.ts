import type { Provider } from '../execution/run-rows.ts'
import type { BatchPolicy, ProviderPolicy } from './batch-policy.ts'

/**
 * A policy of its own for each provider, by what runs cost there: a batch is decided on by that of the provider where it
 * would be run, `expects` of so many rows, and learned from by that of the one that has run it.
 */
export function policyByProvider(
  policies: Readonly<Record<Provider, ProviderPolicy>>,
  expects: (rows: number) => Provider,
): BatchPolicy {
  let current: BatchPolicy = policies.cpu

  function policyOf(rows: number): BatchPolicy {
    current = policies[expects(rows)]
    return current
  }

  return {
    cap: (queuedRows) => policyOf(queuedRows).cap(queuedRows),
    seriesMs: (queuedRows) => policyOf(queuedRows).seriesMs(queuedRows),
    isLate: (queuedRows) => policyOf(queuedRows).isLate(queuedRows),
    get aloneRows() {
      return current.aloneRows
    },
    decide: (queue) => policyOf(queue.rows).decide(queue),
    arrived(rows) {
      policies.cpu.arrived(rows)
      policies.cuda.arrived(rows)
    },
    ran(rows, cap, reason, ms, provider) {
      policies[provider].ran(rows, cap, reason, ms, provider)
      // a small batch by which one learns may be one for the other: it is not asked for again and again
      if (reason === 'full') policies[provider === 'cpu' ? 'cuda' : 'cpu'].ranElsewhere()
    },
    tooMany: (rows, provider) => policies[provider].tooMany(rows, provider),
    figures: () => current.figures(),
  }
}
