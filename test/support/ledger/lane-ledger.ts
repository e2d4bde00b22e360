/*
 * The account of one lane, from what its logs hold. It shares no code with the product: what it is to catch may be there.
 */

/** What was read of a partition, in the order of the log. */
export interface LogColumns {
  /** In this log; control records leave gaps. */
  readonly offsets: Float64Array
  /** Hash of the event id; 0 where the record has none. */
  readonly ids: Uint32Array
  /** Offset of the event; -1 when the record names another making of the events topic. */
  readonly origins: Float64Array
  /** Offset in the log that the writer read; -1 when it names another making of that topic. */
  readonly sources: Float64Array
}

export interface DeadLetterColumns extends LogColumns {
  /** By record, an index into `writers`. */
  readonly writer: Uint8Array
  /** Who gave up a record of which topic. */
  readonly writers: readonly { readonly stage: string; readonly input: LedgerInput }[]
}

export type LedgerInput = 'events' | 'features' | 'predictions' | 'labels' | 'dead-letters' | 'other'

export interface LaneLogs {
  readonly partition: number
  readonly events: Pick<LogColumns, 'offsets' | 'ids'>
  /** Null in a fused pipeline: predictions are made from events. */
  readonly features: LogColumns | null
  readonly predictions: LogColumns
  readonly deadLetters: DeadLetterColumns
  /** Offsets of `predictions` and `dead-letters` as ClickHouse has them, FINAL; null = it is not checked. */
  readonly stored: { readonly predictions: Float64Array; readonly deadLetters: Float64Array } | null
}

/**
 *   missing        an event without an end, a feature vector without one, a stored log's record without a row
 *   double         an event with two different ends
 *   duplicate      the same end twice: a feature vector, a prediction, a dead letter, a row
 *   out_of_order   a record after one of a later event
 *   foreign        a record of no event, or a row of no record
 *   mistaken       a record with the id of another event, or with coordinates that contradict each other
 */
export type Irregularity = 'missing' | 'double' | 'duplicate' | 'out_of_order' | 'foreign' | 'mistaken'

export interface LaneVerdict {
  readonly events: number
  readonly features: number
  readonly predictions: number
  readonly deadLetters: number
  readonly unstored: number
  readonly found: Readonly<Record<Irregularity, number>>
  /** The first of each kind and place. */
  readonly examples: readonly string[]
}

const EXISTS = 1
const FEATURES = 2
const PREDICTED = 4
const REJECTED = 8

const NO_COLUMNS: LogColumns = {
  offsets: new Float64Array(0),
  ids: new Uint32Array(0),
  origins: new Float64Array(0),
  sources: new Float64Array(0),
}

export function checkLane(lane: LaneLogs): LaneVerdict {
  const found = { missing: 0, double: 0, duplicate: 0, out_of_order: 0, foreign: 0, mistaken: 0 }
  const seen = new Set<string>()
  const examples: string[] = []
  const report = (kind: Irregularity, log: string, offset: number): void => {
    found[kind]++
    if (seen.has(`${kind} ${log}`)) return
    seen.add(`${kind} ${log}`)
    examples.push(`${kind}: ${log}/${lane.partition} offset ${offset}`)
  }

  const events = marked(lane.events.offsets)
  const idOf = new Uint32Array(events.states.length)
  lane.events.offsets.forEach((offset, row) => {
    idOf[offset - events.base] = lane.events.ids[row] as number
  })
  const features = lane.features === null ? null : marked(lane.features.offsets)
  const originOfVector = new Float64Array(features?.states.length ?? 0).fill(-1)
  lane.features?.offsets.forEach((offset, row) => {
    originOfVector[offset - (features?.base ?? 0)] = lane.features?.origins[row] as number
  })

  /** Adds one end of an event; says what is wrong with it. */
  function end(
    log: string,
    columns: LogColumns,
    row: number,
    what: number,
    input: Marked,
    originOfInput: boolean,
  ): void {
    const offset = columns.offsets[row] as number
    const origin = columns.origins[row] as number
    const source = columns.sources[row] as number
    if (!input.has(source) || (originOfInput && !events.has(origin))) {
      report('foreign', log, offset)
      return
    }
    const event = originOfInput ? origin : source
    if (originOfInput && originOfVector[source - input.base] !== origin) report('mistaken', log, offset)
    if (!originOfInput && origin !== -1 && origin !== source) report('mistaken', log, offset)
    const id = columns.ids[row] as number
    if (id !== 0 && id !== idOf[event - events.base]) report('mistaken', log, offset)
    if (!events.mark(event, what)) report('duplicate', log, offset)
    if (input !== events && what !== FEATURES) input.mark(source, what)
  }
  function inOrder(log: string, columns: LogColumns): (row: number) => void {
    let last = -1
    return (row) => {
      const source = columns.sources[row] as number
      if (source === -1) return
      if (source < last) report('out_of_order', log, columns.offsets[row] as number)
      else last = source
    }
  }

  for (const [log, columns, what] of [
    ['features', lane.features ?? NO_COLUMNS, FEATURES],
    ['predictions', lane.predictions, PREDICTED],
  ] as const) {
    const input = what === FEATURES || features === null ? events : features
    const order = inOrder(log, columns)
    for (let row = 0; row < columns.offsets.length; row++) {
      end(log, columns, row, what, input, input !== events)
      order(row)
    }
  }

  const unstored = { predictions: new Set<number>(), 'dead-letters': new Set<number>() }
  const orders = lane.deadLetters.writers.map(() => inOrder('dead-letters', lane.deadLetters))
  for (let row = 0; row < lane.deadLetters.offsets.length; row++) {
    const writer = lane.deadLetters.writer[row] as number
    const input = lane.deadLetters.writers[writer]?.input ?? 'other'
    const source = lane.deadLetters.sources[row] as number
    orders[writer]?.(row)
    if (input === 'events') end('dead-letters', lane.deadLetters, row, REJECTED, events, false)
    else if (input === 'features') end('dead-letters', lane.deadLetters, row, REJECTED, features ?? events, true)
    else if (input === 'other') report('foreign', 'dead-letters', lane.deadLetters.offsets[row] as number)
    else if (input !== 'labels') {
      if (unstored[input].has(source)) report('duplicate', 'dead-letters', lane.deadLetters.offsets[row] as number)
      unstored[input].add(source)
    }
  }

  events.each((offset, state) => {
    if ((state & (PREDICTED | REJECTED)) === 0) report('missing', 'events', offset)
    if ((state & PREDICTED) !== 0 && (state & REJECTED) !== 0) report('double', 'events', offset)
  })
  features?.each((offset, state) => {
    if ((state & (PREDICTED | REJECTED)) === 0) report('missing', 'features', offset)
  })
  if (lane.stored !== null) {
    checkRows('predictions', lane.predictions.offsets, lane.stored.predictions, unstored.predictions)
    checkRows('dead-letters', lane.deadLetters.offsets, lane.stored.deadLetters, unstored['dead-letters'])
  }

  /** Each record has one row, or a dead letter that says it has none. */
  function checkRows(log: string, records: Float64Array, rows: Float64Array, without: ReadonlySet<number>): void {
    const STORED = 2
    const marks = marked(records)
    for (const offset of rows) {
      if (!marks.has(offset)) report('foreign', `rows of ${log}`, offset)
      else if (!marks.mark(offset, STORED)) report('duplicate', `rows of ${log}`, offset)
      else if (without.has(offset)) report('double', `rows of ${log}`, offset)
    }
    marks.each((offset, state) => {
      if ((state & STORED) === 0 && !without.has(offset)) report('missing', `rows of ${log}`, offset)
    })
  }

  return {
    events: lane.events.offsets.length,
    features: lane.features?.offsets.length ?? 0,
    predictions: lane.predictions.offsets.length,
    deadLetters: lane.deadLetters.offsets.length,
    unstored: unstored.predictions.size + unstored['dead-letters'].size,
    found,
    examples,
  }
}

interface Marked {
  readonly base: number
  readonly states: Uint8Array
  has(offset: number): boolean
  /** False when it had the mark. */
  mark(offset: number, bit: number): boolean
  each(visit: (offset: number, state: number) => void): void
}

/** A byte of marks for each offset that a log holds. */
function marked(offsets: Float64Array): Marked {
  const base = offsets[0] ?? 0
  const states = new Uint8Array(offsets.length === 0 ? 0 : (offsets.at(-1) as number) - base + 1)
  for (const offset of offsets) states[offset - base] = EXISTS
  const at = (offset: number): number => states[offset - base] ?? 0
  return {
    base,
    states,
    has: (offset) => (at(offset) & EXISTS) !== 0,
    mark(offset, bit) {
      const state = at(offset)
      states[offset - base] = state | bit
      return (state & bit) === 0
    },
    each(visit) {
      states.forEach((state, index) => {
        if ((state & EXISTS) !== 0) visit(base + index, state)
      })
    },
  }
}
