import type { Alert } from '../../../schemas/generated/records.ts'
import type { SentAlert } from './webhook.ts'

/** An alert of the topic; due later than it was written, it was written in silence. */
export interface TopicAlert extends SentAlert {
  readonly offset: number
  readonly writtenAt: number
}

/** Where a held alert is in the topic, and which change of its rule the silence held first. */
export interface HeldPlace {
  readonly offset: number
  readonly first: Alert['state']
}

/**
 * What is to be said once a silence is over: of each rule its last change, unless the silence has seen it begin and end. A rule that
 * fired before is said to be resolved.
 */
export interface HeldAlerts {
  /** False when as many as can be noted are held already. */
  hasRoom(rule: string): boolean
  /** Those that nobody will hear of any more because of it. One that was held before changes nothing. */
  hold(alert: TopicAlert): readonly TopicAlert[]
  of(rule: string): TopicAlert | undefined
  /** In the order in which they were written. */
  all(): readonly TopicAlert[]
  /** It was sent. */
  release(alert: TopicAlert): void
  /** What `readHeldNote` reads, for the metadata of a position; `generation`: id of the topic. */
  note(generation: string): string
  /** Holds these and no others: what was noted of them, and the alerts themselves. */
  begin(places: readonly HeldPlace[], alerts: readonly TopicAlert[]): void
}

/** A position's metadata has 4,096 bytes: 41 for the topic, 18 of an alert at most. */
const MAX_HELD = 200
const NOTE = /^held ([\w-]+) (\d+[fr](?:,\d+[fr])*)$/

export function createHeldAlerts(): HeldAlerts {
  const held = new Map<string, { readonly first: Alert['state']; readonly alert: TopicAlert }>()

  return {
    hasRoom: (rule) => held.has(rule) || held.size < MAX_HELD,
    hold(sent) {
      const { rule, state } = sent.alert
      const before = held.get(rule)
      if (before !== undefined && before.alert.offset >= sent.offset) return []
      const dropped = before === undefined ? [] : [before.alert]
      if (before?.first === 'firing' && state === 'resolved') {
        held.delete(rule)
        return [...dropped, sent]
      }
      held.set(rule, { first: before?.first ?? state, alert: sent })
      return dropped
    },
    of: (rule) => held.get(rule)?.alert,
    all: () => [...held.values()].map(({ alert }) => alert).sort((one, other) => one.offset - other.offset),
    release({ alert, offset }) {
      if (held.get(alert.rule)?.alert.offset === offset) held.delete(alert.rule)
    },
    note(generation) {
      if (held.size === 0) return ''
      const places = [...held.values()].map(({ first, alert }) => `${alert.offset}${first === 'firing' ? 'f' : 'r'}`)
      return `held ${generation} ${places.join(',')}`
    },
    begin(places, alerts) {
      held.clear()
      const firsts = new Map(places.map(({ offset, first }) => [offset, first]))
      for (const alert of alerts) {
        held.set(alert.alert.rule, { first: firsts.get(alert.offset) ?? alert.alert.state, alert })
      }
    },
  }
}

/** None when it says something else, or is of another topic. */
export function readHeldNote(metadata: string, generation: string): readonly HeldPlace[] {
  const [, of, places = ''] = NOTE.exec(metadata) ?? []
  if (of !== generation) return []
  return places.split(',').map((place) => ({
    offset: Number(place.slice(0, -1)),
    first: place.endsWith('f') ? 'firing' : 'resolved',
  }))
}
