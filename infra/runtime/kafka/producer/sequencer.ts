/**
 * The order of one partition under one producer id and epoch: which sequence a batch has, and which may be sent now.
 *
 *   queued         to be sent, also again; a batch that was ever sent keeps its sequence and its bytes
 *   sent           on its way
 *   unresolved     no acknowledgement came, or a refusal that another try may change; nothing new is sent until every answer of
 *                  those on their way is there, then the unresolved ones are sent again, the lowest first
 *   acknowledged   in the log, and waits for those before it
 *
 * At most five batches lie between the first that is not acknowledged and the last that was sent: the broker remembers the
 * last five of a producer, so whatever is sent again is recognised.
 */
export interface Sequencer<T> {
  /** Queues a batch of so many records; its sequence is given to `make`, which encodes it. */
  add(records: number, make: (sequence: number) => T): void
  /** The next batch to send now, in order; null = none until an answer comes or a batch is added. */
  take(): Slot<T> | null
  /**
   * What became of a batch that was sent. Answers the batches that are now in the log with all before them, in order; null
   * when the order is lost: the outcome of this batch and of those behind it is unknown.
   */
  settle(slot: Slot<T>, answer: Answer): readonly Slot<T>[] | null
  /**
   * A batch that was sent was refused for good and is not in the log. True when its sequence was given back; false when others
   * lie behind it, which then cannot be written any more.
   */
  withdraw(slot: Slot<T>): boolean
  /** From now until the next acknowledgement one batch at a time: the broker may know nothing of this producer, and then takes any sequence. */
  alone(): void
  /** All that is not acknowledged, in order; the sequencer is empty afterwards. */
  drain(): readonly Slot<T>[]
  /** The first that is not acknowledged. */
  oldest(): T | null
  /** Batches that are not acknowledged. */
  readonly length: number
}

export interface Slot<T> {
  readonly item: T
  readonly sequence: number
  readonly records: number
}

/**
 *   acknowledged      in the log, now or since an earlier try
 *   again             not known to be there; the same bytes may be sent again
 *   out_of_sequence   refused because the batch before it is not there, or because it is too far back
 */
export type Answer = 'acknowledged' | 'again' | 'out_of_sequence'

const MAX_IN_FLIGHT = 5
/** After 2³¹ − 1 comes 0, also within a batch. */
const SEQUENCES = 2 ** 31

interface Queued<T> extends Slot<T> {
  state: 'queued' | 'sent' | 'unresolved' | 'acknowledged'
}

export function createSequencer<T>(firstSequence = 0): Sequencer<T> {
  let next = firstSequence
  let slots: Queued<T>[] = []
  /** A new epoch is like a forgotten one: the marker that began it is no batch. */
  let alone = true

  function resolved(): readonly Slot<T>[] {
    const pending = slots.findIndex(({ state }) => state !== 'acknowledged')
    return slots.splice(0, pending < 0 ? slots.length : pending)
  }

  return {
    get length() {
      return slots.length
    },
    add(records, make) {
      slots.push({ item: make(next), sequence: next, records, state: 'queued' })
      next = (next + records) % SEQUENCES
    },
    take() {
      if (slots.some(({ state }) => state === 'unresolved')) {
        if (slots.some(({ state }) => state === 'sent')) return null
        for (const slot of slots) if (slot.state === 'unresolved') slot.state = 'queued'
      }
      const window = alone ? 1 : MAX_IN_FLIGHT
      const slot = slots.slice(0, window).find(({ state }) => state === 'queued')
      if (slot === undefined) return null
      slot.state = 'sent'
      return slot
    },
    settle(answered, answer) {
      const index = slots.indexOf(answered as Queued<T>)
      const slot = slots[index]
      if (slot === undefined) return []
      if (answer === 'acknowledged') {
        slot.state = 'acknowledged'
        alone = false
        return resolved()
      }
      // behind an unresolved one that says nothing: it is sent again after that one
      if (answer === 'out_of_sequence' && index === 0) return null
      slot.state = 'unresolved'
      return []
    },
    withdraw(refused) {
      if (slots.length !== 1 || slots[0] !== refused) return false
      next = refused.sequence
      slots = []
      return true
    },
    alone() {
      alone = true
    },
    oldest: () => slots[0]?.item ?? null,
    drain() {
      const left = slots
      slots = []
      return left
    },
  }
}
