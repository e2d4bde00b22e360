import logUpdate from 'log-update'
import type { MonthQuality } from './quality.ts'
import type { Flow, Snapshot } from './snapshot.ts'

/** Shows how a pipeline is doing: a table that is redrawn on a terminal, a line at a time elsewhere. */
export interface View {
  show(frame: Frame): void
  /** A message above the table. */
  say(line: string): void
  /** Takes the table away and shows none any more; what is said from now on is printed as it is. */
  end(): void
}

export interface Frame {
  readonly snapshot: Snapshot
  readonly previous: Snapshot | null
  readonly processes: readonly { readonly name: string; readonly state: string; readonly restarts: number }[]
  readonly replay: string
  /** First day (`yyyy-mm-dd`) that the model has not been trained on; null = unknown. */
  readonly unseenFrom: string | null
}

export function createView(output: NodeJS.WriteStream): View {
  let ended = false
  if (output.isTTY !== true) {
    return {
      show(frame) {
        if (!ended) output.write(`${frameLine(frame)}\n`)
      },
      say: (line) => void output.write(`${line}\n`),
      end() {
        ended = true
      },
    }
  }
  let last: string | null = null
  return {
    show(frame) {
      if (ended) return
      last = frameTable(frame)
      logUpdate(last)
    },
    say(line) {
      if (last !== null) logUpdate.clear()
      output.write(`${line}\n`)
      if (last !== null) logUpdate(last)
    },
    end() {
      if (last !== null) logUpdate.clear()
      last = null
      ended = true
    },
  }
}

export function frameLine({ snapshot, previous, replay }: Frame): string {
  const { lag, latencyMs, deadLetters, months } = snapshot
  const parts = [
    `events ${perSecond('events', snapshot, previous)}/s`,
    `features ${perSecond('features', snapshot, previous)}/s lag ${lag.processors}`,
    `predictions ${perSecond('predictions', snapshot, previous)}/s lag ${lag.inference}`,
    `stored lag ${lag.sinks}`,
    latencyMs === null ? 'latency –' : `p50 ${ms(latencyMs.p50)} p99 ${ms(latencyMs.p99)}`,
    `dead letters ${deadLetters.reduce((total, { count }) => total + count, 0)}`,
  ]
  const month = months.at(-1)
  if (month !== undefined) parts.push(`${month.month.slice(0, 7)} ${qualityText(month)}`)
  return [...parts, replay].filter((part) => part !== '').join(' | ')
}

export function frameTable(frame: Frame): string {
  const { snapshot, previous, processes, replay, unseenFrom } = frame
  const { lag, latencyMs, deadLetters, months } = snapshot
  const rate = (flow: Flow): string => perSecond(flow, snapshot, previous).padStart(8)
  return [
    '',
    `  ${'stage'.padEnd(12)}${'rate/s'.padStart(8)}${'lag'.padStart(10)}`,
    `  ${'events'.padEnd(12)}${rate('events')}${''.padStart(10)}   ${replay}`,
    `  ${'processors'.padEnd(12)}${rate('features')}${String(lag.processors).padStart(10)}`,
    `  ${'inference'.padEnd(12)}${rate('predictions')}${String(lag.inference).padStart(10)}`,
    `  ${'sinks'.padEnd(12)}${''.padStart(8)}${String(lag.sinks).padStart(10)}`,
    '',
    `  event to prediction, last 10 s   ${latencyMs === null ? '–' : `p50 ${ms(latencyMs.p50)}   p99 ${ms(latencyMs.p99)}`}`,
    `  dead letters                     ${deadLetters.length === 0 ? 'none' : deadLetters.map(({ stage, reason, count }) => `${stage} ${reason} ${count}`).join(', ')}`,
    `  processes                        ${processesText(processes)}`,
    ...(months.length === 0 ? [] : ['', `  ${'month'.padEnd(10)}${'labelled'.padStart(10)}   quality`]),
    ...months.map((month) => monthLine(month, unseenFrom)),
    '',
  ].join('\n')
}

/** Months before `unseenFrom` are those the model was trained on. */
export function monthLine(month: MonthQuality, unseenFrom: string | null): string {
  const seen = unseenFrom === null ? '' : month.month < unseenFrom ? '  (trained on)' : ''
  return `  ${month.month.slice(0, 7).padEnd(10)}${String(month.labelled).padStart(10)}   ${qualityText(month)}${seen}`
}

export function qualityText({ auc, accuracy }: MonthQuality): string {
  if (auc !== null) return `AUC ${auc.toFixed(4)}`
  return accuracy === null ? '–' : `accuracy ${accuracy.toFixed(4)}`
}

/** How many run, and by name those that do not or that had to be started again. */
function processesText(processes: Frame['processes']): string {
  const running = processes.filter(({ state }) => state === 'running').length
  const notable = processes
    .filter(({ state, restarts }) => state !== 'running' || restarts > 0)
    .map(({ name, state, restarts }) => `${name} ${state}${restarts === 0 ? '' : `, started again ${restarts}×`}`)
  return [`${running} running`, ...notable].join('; ')
}

function perSecond(flow: Flow, now: Snapshot, before: Snapshot | null): string {
  if (before === null || now.at <= before.at) return '0'
  return String(Math.round(((now.written[flow] - before.written[flow]) * 1_000) / (now.at - before.at)))
}

function ms(value: number): string {
  return value >= 10_000 ? `${(value / 1_000).toFixed(1)} s` : `${Math.round(value)} ms`
}
