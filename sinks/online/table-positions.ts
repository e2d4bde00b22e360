import type { PartitionRange } from '../../infra/runtime/kafka/kafka-admin.ts'
import type { RedisWrite } from '../../infra/runtime/redis/redis-client.ts'

/** What Redis holds of a table's topic; the layout is in schemas/redis-keys.ts. */
export interface TablePositions {
  /** "<generation>:<load id>" */
  readonly load: string
  /** Next offset by partition. */
  readonly next: ReadonlyMap<number, number>
  /** Where each partition ended when the load began. */
  readonly ends: ReadonlyMap<number, number>
}

const LOAD_FIELD = 'load'
const END_FIELD = /^end:(\d+)$/
const PARTITION_FIELD = /^\d+$/

/** Null when nothing of this generation of the topic was loaded. */
export function readPositions(hash: Readonly<Record<string, string>>, generation: string): TablePositions | null {
  const load = hash[LOAD_FIELD]
  if (load === undefined || !load.startsWith(`${generation}:`)) return null
  const next = new Map<number, number>()
  const ends = new Map<number, number>()
  for (const [field, value] of Object.entries(hash)) {
    const end = END_FIELD.exec(field)
    if (end !== null) ends.set(Number(end[1]), Number(value))
    else if (PARTITION_FIELD.test(field)) {
      const [of, offset, id] = value.split(':')
      if (`${of}:${id}` === load) next.set(Number(field), Number(offset))
    }
  }
  return { load, next, ends }
}

/** A new load: every partition from its start, to the end that it has now. */
export function newPositions(generation: string, id: string, ranges: readonly PartitionRange[]): TablePositions {
  return {
    load: `${generation}:${id}`,
    next: new Map(ranges.map(({ partition, low }) => [partition, low])),
    ends: new Map(ranges.map(({ partition, high }) => [partition, high])),
  }
}

export function newLoadWrites(key: string, positions: TablePositions): readonly RedisWrite[] {
  const ends = [...positions.ends].map(([partition, end]) => field(key, `end:${partition}`, String(end)))
  return [
    { op: 'delete', key },
    field(key, LOAD_FIELD, positions.load),
    ...ends,
    ...positionWrites(key, positions.load, positions.next),
  ]
}

export function positionWrites(key: string, load: string, next: ReadonlyMap<number, number>): readonly RedisWrite[] {
  const [generation, id] = load.split(':')
  return [...next].map(([partition, offset]) => field(key, String(partition), `${generation}:${offset}:${id}`))
}

/** True when everything that the topic held when the load began is in the rows. */
export function isLoaded({ next, ends }: TablePositions): boolean {
  return [...ends].every(([partition, end]) => (next.get(partition) ?? -1) >= end)
}

/** True when the log still has, or has not yet, what comes next in each partition; false = it was cut at either end. */
export function fitsLog({ next }: TablePositions, ranges: readonly PartitionRange[]): boolean {
  return ranges.every(({ partition, low, high }) => {
    const offset = next.get(partition)
    return offset === undefined || (offset >= low && offset <= high)
  })
}

function field(key: string, name: string, value: string): RedisWrite {
  return { op: 'hash-set', key, field: name, value }
}
