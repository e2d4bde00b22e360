import type { RecordSet } from '../../infra/runtime/kafka/record-batches/decode-record-set.ts'
import type { PredictionView } from '../answers/answers.ts'
import type { PredictionRows } from './prediction-rows.ts'
import type { Subscriber } from './subscriber.ts'

/** What the feed counts. Must not throw. */
export interface FeedObserver {
  /** Per set of records: how many there were, how many predictions subscribers got from them, how many could not be read. */
  fed(set: {
    readonly reading: 'tail' | 'catch-up'
    readonly records: number
    readonly bytes: number
    readonly delivered: number
    readonly unreadable: number
  }): void
  /** Bytes that wait for subscribers. */
  queued(bytes: number): void
  subscribers(count: number): void
}

/** Hands records to the subscribers who want them; a prediction becomes an object once for all of them, and only then. */
export interface Delivery {
  add(subscriber: Subscriber): void
  remove(subscriber: Subscriber): void
  /** To everybody who has joined the partition. */
  live(partition: number, set: RecordSet): void
  /** To one who reads by itself. */
  own(partition: number, set: RecordSet, subscriber: Subscriber): void
}

/** Most rows belong to nobody here: the tenant is looked at once for all of its subscribers. */
interface Tenant {
  readonly name: Buffer
  readonly subscribers: Set<Subscriber>
}

export function createDelivery(rows: PredictionRows, observer: FeedObserver): Delivery {
  const tenants = new Map<string, Tenant>()

  function hand(partition: number, set: RecordSet, to: readonly Tenant[], reading: 'tail' | 'catch-up'): void {
    let delivered = 0
    let unreadable = 0
    for (let row = 0; row < set.length; row++) {
      if (!rows.look(set, row)) {
        unreadable += 1
        continue
      }
      const tenant = to.find(({ name }) => rows.hasTenant(name))
      if (tenant === undefined) continue
      const handed = handRow(partition, set, row, tenant, reading === 'tail')
      if (handed < 0) unreadable += 1
      else delivered += handed
    }
    for (const { subscribers } of to) {
      for (const subscriber of subscribers) {
        if (subscriber.hasJoined(partition) === (reading === 'tail')) subscriber.pass(partition, set.nextOffset)
      }
    }
    observer.fed({ reading, records: set.length, bytes: set.values.bytes.length, delivered, unreadable })
  }

  /** How many got it; -1 when it cannot be read. */
  function handRow(partition: number, set: RecordSet, row: number, tenant: Tenant, live: boolean): number {
    const offset = set.offsets[row] as number
    const origin = rows.originOffset()
    let key: string | null | undefined
    const keyOf = (): string | null => {
      if (key === undefined) key = rows.key()
      return key
    }
    let view: PredictionView | null = null
    let handed = 0
    // one that is ended leaves the set meanwhile
    for (const subscriber of tenant.subscribers) {
      if (subscriber.hasJoined(partition) !== live || offset < subscriber.looked(partition)) continue
      if (!subscriber.wants(partition, origin, keyOf)) continue
      view ??= rows.view(partition)
      if (view === null) return -1
      subscriber.offer(partition, offset, view, set.values.lengths[row] as number)
      handed += 1
    }
    return handed
  }

  return {
    add(subscriber) {
      const known = tenants.get(subscriber.tenant)
      if (known !== undefined) known.subscribers.add(subscriber)
      else {
        const name = Buffer.from(subscriber.tenant)
        tenants.set(subscriber.tenant, { name, subscribers: new Set([subscriber]) })
      }
    },
    remove(subscriber) {
      const tenant = tenants.get(subscriber.tenant)
      tenant?.subscribers.delete(subscriber)
      if (tenant?.subscribers.size === 0) tenants.delete(subscriber.tenant)
    },
    live: (partition, set) => hand(partition, set, [...tenants.values()], 'tail'),
    own(partition, set, subscriber) {
      const tenant = { name: Buffer.from(subscriber.tenant), subscribers: new Set([subscriber]) }
      hand(partition, set, [tenant], 'catch-up')
    },
  }
}
