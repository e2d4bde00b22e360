/** What the programs that are compared are told, as JSON in their first argument, and what they say in their last line. */
export interface HopSettings {
  readonly brokers: readonly string[]
  readonly registryUrl: string
  readonly group: string
  readonly topics: { readonly events: string; readonly output: string; readonly deadLetters: string }
  /** Stop after so many. */
  readonly events: number
  /** Of the predictions that ours writes; the straightforward program compresses nothing. */
  readonly compression: 'none' | 'lz4'
  /** Directory of versions, and the file of the only one; null = no model is run. */
  readonly model: { readonly directory: string; readonly file: string } | null
}

export interface HopFigures {
  readonly events: number
  /** All threads, user and system, µs. */
  readonly cpuUs: number
  readonly seconds: number
  readonly rssStartBytes: number
  readonly rssEndBytes: number
}

export function readSettings(): HopSettings {
  return JSON.parse(process.argv[2] ?? '') as HopSettings
}

/** Starts the clock; the answer is called once the last event's prediction is acknowledged. */
export function startFigures(): (events: number) => HopFigures {
  const cpu = process.cpuUsage()
  const at = performance.now()
  const rssStartBytes = process.memoryUsage.rss()
  return (events) => {
    const { user, system } = process.cpuUsage(cpu)
    const seconds = (performance.now() - at) / 1_000
    return { events, cpuUs: user + system, seconds, rssStartBytes, rssEndBytes: process.memoryUsage.rss() }
  }
}

export function report(figures: HopFigures): void {
  process.stdout.write(`${JSON.stringify(figures)}\n`)
}
