import { retryable } from '../../infra/runtime/errors.ts'
import type { KafkaConnections } from '../../infra/runtime/kafka/connections/connections.ts'
import type { KafkaRequest } from '../../infra/runtime/kafka/protocol/request.ts'
import { wireReader, wireWriter } from '../../infra/runtime/kafka/protocol/wire.ts'
import { readProducer } from '../../infra/runtime/kafka/record-batches/batch-header.ts'
import { sliceAt } from '../../infra/runtime/kafka/record-batches/columns.ts'
import { decodeRecordSet } from '../../infra/runtime/kafka/record-batches/decode-record-set.ts'

/*
 * What a broker does with idempotent batches, as far as a producer can tell (Kafka's ProducerStateManager): it remembers the last
 * five batches of a producer, answers one of those again without storing it, takes what follows the last one, refuses the rest, and
 * takes any sequence of a producer that it knows nothing of.
 */

/** What happens to one request. */
export type Happening =
  | 'served'
  | 'request lost'
  | 'answer lost'
  /** The connection breaks, and the broker still finds the request on it later. */
  | 'served late'
  | 'not enough replicas'
  | 'not enough replicas after append'
  | 'timed out after append'
  | 'leader moves'

export interface ModelBroker {
  readonly connections: KafkaConnections
  /** Values of a partition, in the order of the log. */
  log(topic: string, partition: number): readonly string[]
  /** Requests, and the most batches of one partition that were on their way at once. */
  readonly requests: number
  readonly mostInFlight: number
}

interface Batch {
  readonly first: number
  readonly last: number
  readonly baseOffset: number
}

interface Partition {
  readonly values: string[]
  batches: Batch[]
}

const ERRORS = {
  'not enough replicas': 19,
  'not enough replicas after append': 20,
  'timed out after append': 7,
} as const
const OUT_OF_ORDER = 45
const NOT_LEADER = 6
const SEQUENCES = 2 ** 31
const REMEMBERED = 5
const NODES = [1, 2] as const
const PARTITIONS = [0, 1, 2, 3].map((partition) => ({ partition, leaderEpoch: 0, replicas: NODES, inSync: NODES }))

export function modelBroker(next: () => Happening): ModelBroker {
  const partitions = new Map<string, Partition>()
  const inFlight = new Map<string, number>()
  const late: (() => void)[] = []
  let leader: number = NODES[0]
  let requests = 0
  let mostInFlight = 0

  const partitionOf = (name: string): Partition => {
    const partition = partitions.get(name) ?? { values: [], batches: [] }
    partitions.set(name, partition)
    return partition
  }

  function append(name: string, bytes: Buffer): { error: number; baseOffset: number } {
    const partition = partitionOf(name)
    const limits = { from: 0, highWatermark: 2 ** 40, aborted: null, maxDecompressedBytes: 2 ** 20 }
    const records = decodeRecordSet(bytes, limits)
    const { sequence: first } = readProducer(bytes, 0)
    const last = (first + records.length - 1) % SEQUENCES
    const known = partition.batches.find((batch) => batch.first === first && batch.last === last)
    if (known !== undefined) return { error: 0, baseOffset: known.baseOffset }
    const before = partition.batches.at(-1)
    if (before !== undefined && first !== (before.last + 1) % SEQUENCES) return { error: OUT_OF_ORDER, baseOffset: -1 }
    const baseOffset = partition.values.length
    for (let row = 0; row < records.length; row++) partition.values.push(sliceAt(records.values, row)?.toString() ?? '')
    partition.batches = [...partition.batches, { first, last, baseOffset }].slice(-REMEMBERED)
    return { error: 0, baseOffset }
  }

  function serve(body: Buffer, happening: Happening, node: number): Buffer {
    const answer = wireWriter()
    answer.array(batchesIn(body), ({ topic, batches }) => {
      answer.string(topic).array(batches, ({ partition, bytes }) => {
        let { error, baseOffset } = { error: NOT_LEADER, baseOffset: -1 }
        if (node === leader) {
          if (happening !== 'not enough replicas') ({ error, baseOffset } = append(`${topic}/${partition}`, bytes))
          if (error <= 0 || happening === 'not enough replicas')
            error = ERRORS[happening as keyof typeof ERRORS] ?? error
        }
        answer.int32(partition).int16(error).int64(baseOffset).int64(5).int64(0)
        answer.array([], () => {}).string(null)
      })
    })
    return answer.int32(0).end()
  }

  async function send<T>(node: number, _channel: string, request: KafkaRequest<T>): Promise<T> {
    requests++
    const happening = next()
    const names = batchesIn(wholeBody(request)).flatMap(({ topic, batches }) =>
      batches.map(({ partition }) => `${topic}/${partition}`),
    )
    for (const name of names) {
      const count = (inFlight.get(name) ?? 0) + 1
      inFlight.set(name, count)
      mostInFlight = Math.max(mostInFlight, count)
    }
    if (happening === 'leader moves') leader = NODES.find((other) => other !== leader) ?? leader
    const isServed = happening !== 'request lost' && happening !== 'served late'
    const answer = isServed ? serve(wholeBody(request), happening, node) : null
    if (happening === 'served late') late.push(() => serve(wholeBody(request), 'served', node))
    // answers overtake those of other connections
    for (let turns = requests % 4; turns >= 0; turns--) await new Promise((resolve) => setImmediate(resolve))
    if (requests % 3 === 0) for (const serveLate of late.splice(0)) serveLate()
    for (const name of names) inFlight.set(name, (inFlight.get(name) ?? 0) - 1)
    if (answer === null || happening === 'answer lost') throw retryable('kafka_unavailable', happening)
    return request.decode(answer)
  }

  return {
    connections: {
      send,
      sendToAny: (request) => send(leader, 'control', request),
      topics: async (names) =>
        new Map(
          names.map((name) => [name, { name, id: name, partitions: PARTITIONS.map((each) => ({ ...each, leader })) }]),
        ),
      leaderOf: () => leader,
      coordinator: async () => leader,
      forgetCoordinator: () => {},
      close: async () => {},
    },
    log: (topic, partition) => partitionOf(`${topic}/${partition}`).values,
    get requests() {
      return requests
    },
    get mostInFlight() {
      return mostInFlight
    },
  }
}

function batchesIn(body: Buffer) {
  const reader = wireReader(body, 'Produce')
  reader.string()
  reader.int16()
  reader.int32()
  return reader.array(() => ({
    topic: reader.string() ?? '',
    batches: reader.array(() => ({ partition: reader.int32(), bytes: reader.bytes() ?? Buffer.alloc(0) })),
  }))
}

function wholeBody({ body, rest = [] }: KafkaRequest<unknown>): Buffer {
  return Buffer.concat([body, ...rest])
}
