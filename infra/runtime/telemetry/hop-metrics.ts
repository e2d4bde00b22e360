import type { HopObserver } from '../kafka/hop/hop-observer.ts'
import type { Metrics } from './metrics.ts'

/** What every hop of a stage counts, by the hop's name. */
export function hopMetrics(metrics: Metrics): (hop: string) => HopObserver {
  const labels = ['hop'] as const
  const recordsIn = metrics.counter('millrace_records_in_total', 'Records whose end was decided', labels)
  const recordsOut = metrics.counter('millrace_records_out_total', 'Records written to an output or stored', labels)
  const deadLetters = metrics.counter('millrace_dead_letters_total', 'Records given up', ['hop', 'reason'])
  const busy = metrics.counter('millrace_busy_seconds_total', 'Time in handlers and in writing', labels)
  const retries = metrics.counter('millrace_retries_total', 'Rounds tried again', ['hop', 'code'])
  const deferrals = metrics.counter('millrace_deferrals_total', 'Times that a lane had to wait', ['hop', 'code'])
  const stopped = metrics.gauge('millrace_partition_stopped', '1 = an operator has to look', [
    'hop',
    'partition',
    'code',
  ])
  const codes = new Map<string, string>()
  const passedOver = metrics.counter('millrace_passed_over_total', 'Times that deleted records were passed over', [
    'hop',
    'code',
  ])
  return (hop) => ({
    settled(round) {
      recordsIn.add(round.recordsIn, { hop })
      recordsOut.add(round.recordsOut, { hop })
      busy.add(round.busyMs / 1_000, { hop })
      for (const [reason, count] of round.rejectedByReason) deadLetters.add(count, { hop, reason })
    },
    retrying: ({ code }) => retries.add(1, { hop, code }),
    deferred: ({ code }) => deferrals.add(1, { hop, code }),
    stopped({ partition, code }) {
      codes.set(`${hop} ${partition}`, code)
      stopped.set(1, { hop, partition: String(partition), code })
    },
    passedOver: ({ code }) => passedOver.add(1, { hop, code }),
    began(partition) {
      const code = codes.get(`${hop} ${partition}`)
      if (code !== undefined) stopped.set(0, { hop, partition: String(partition), code })
    },
  })
}
