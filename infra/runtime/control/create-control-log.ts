import type { ControlEntry } from '../../../schemas/generated/records.ts'
import type { Clock } from '../clock.ts'
import { fatal, rejected } from '../errors.ts'
import type { Logger } from '../telemetry/logger.ts'
import type { ControlChange, ControlLog, ControlRecord } from './control-log.ts'
import { createControlState, type PassedOver } from './control-state.ts'
import { sealEntry } from './seal-entry.ts'

export interface ControlLogOptions {
  /** Appends an entry to the log and answers its offset. Rejects with `retry` when it is unknown whether it was appended. */
  write(entry: ControlEntry): Promise<number>
  readonly clock: Clock
  readonly logger: Logger
}

/** The control log apart from where it is kept: who made it hands it every entry of the log, in order. */
export interface ControlLogFeed {
  readonly log: ControlLog
  /** Entries that had no effect. */
  readonly passedOver: number
  /** The next record of the log; null when it is none that can be read. */
  read(offset: number, entry: ControlEntry | null): void
  /** Nothing more is read: what waits for its entry is rejected with the error. */
  end(error: Error): void
}

/** An entry of ours that was written, and what became of its copies in the log. */
interface Awaited {
  readonly hash: string
  readonly outcomes: Map<number, ControlRecord | null>
  /** Called at each outcome, and at the end. */
  look(): void
}

export function createControlLog({ write, clock, logger }: ControlLogOptions): ControlLogFeed {
  const state = createControlState()
  const listeners = new Set<(record: ControlRecord) => void>()
  const awaited = new Set<Awaited>()
  let passedOver = 0
  let ended: Error | null = null
  /** Our own changes need not race each other. */
  let turn: Promise<unknown> = Promise.resolve()

  /** Null = the entry at that offset was passed over. */
  function outcomeOf(entry: Awaited & { look(): void }, offset: number): Promise<ControlRecord | null> {
    return new Promise((resolve, reject) => {
      entry.look = () => {
        const outcome = entry.outcomes.get(offset)
        if (outcome !== undefined) resolve(outcome)
        else if (ended !== null) reject(ended)
      }
      entry.look()
    })
  }

  async function append(change: ControlChange): Promise<ControlRecord> {
    const { kind, name, actor, reason } = change
    const value = JSON.stringify(change.value) as string | undefined
    if (value === undefined) throw fatal('invalid_change', `the value of ${kind} ${name} is not JSON`)
    for (;;) {
      if (ended !== null) throw ended
      const now = state.latest(kind, name)
      if ((now?.revision ?? null) !== change.basedOn) {
        const who = now === null ? 'it is not there' : `${now.actor} changed it: ${now.reason}`
        throw rejected('control_conflict', `${kind} ${name} is not what the change was decided on: ${who}`)
      }
      const base_revision = state.revision
      const entry = sealEntry({
        ...{ kind, name, base_revision, value, actor, reason },
        at: clock.now(),
        previous_hash: state.hash,
      })
      const own: Awaited = { hash: entry.hash, outcomes: new Map(), look: () => {} }
      awaited.add(own)
      try {
        const record = await outcomeOf(own, await write(entry))
        if (record !== null) return record
      } finally {
        awaited.delete(own)
      }
      if (state.revision === base_revision) {
        throw fatal('control_refused', `the entry about ${kind} ${name} was written and cannot be read back as it was`)
      }
    }
  }

  function passOver(offset: number, why: PassedOver | 'unreadable'): void {
    passedOver += 1
    const fields = { offset, why, revision: state.revision }
    if (why === 'late') logger.debug(fields, 'control entry passed over')
    else if (why === 'ahead') logger.error(fields, 'control entry passed over: it says that entries are missing here')
    else logger.warn(fields, 'control entry passed over')
  }

  return {
    get passedOver() {
      return passedOver
    },
    read(offset, entry) {
      const applied = entry === null ? null : state.apply(entry)
      if (!applied?.ok) passOver(offset, applied?.why ?? 'unreadable')
      const record = applied?.ok ? applied.record : null
      for (const own of awaited) {
        if (own.hash !== entry?.hash) continue
        own.outcomes.set(offset, record)
        own.look()
      }
      if (record !== null) for (const listener of [...listeners]) listener(record)
    },
    end(error) {
      ended ??= error
      for (const own of awaited) own.look()
    },
    log: {
      get revision() {
        return state.revision
      },
      latest: state.latest,
      all: state.all,
      append(change) {
        const appended = turn.then(() => append(change))
        turn = appended.catch(() => {})
        return appended
      },
      watch(listener) {
        listeners.add(listener)
        return () => listeners.delete(listener)
      },
    },
  }
}
