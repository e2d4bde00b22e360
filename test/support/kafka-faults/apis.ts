import { type WireReader, type WireWriter, wireReader, wireWriter } from '../../../infra/runtime/kafka/protocol/wire.ts'

/** Codes that a client is to survive, by their names in the protocol guide. */
const CODES = {
  UNKNOWN_TOPIC_OR_PARTITION: 3,
  LEADER_NOT_AVAILABLE: 5,
  NOT_LEADER_OR_FOLLOWER: 6,
  REQUEST_TIMED_OUT: 7,
  REPLICA_NOT_AVAILABLE: 9,
  COORDINATOR_LOAD_IN_PROGRESS: 14,
  COORDINATOR_NOT_AVAILABLE: 15,
  NOT_COORDINATOR: 16,
  NOT_ENOUGH_REPLICAS: 19,
  NOT_ENOUGH_REPLICAS_AFTER_APPEND: 20,
  REBALANCE_IN_PROGRESS: 27,
  CONCURRENT_TRANSACTIONS: 51,
  KAFKA_STORAGE_ERROR: 56,
  FENCED_LEADER_EPOCH: 74,
  UNKNOWN_LEADER_EPOCH: 75,
  OFFSET_NOT_AVAILABLE: 78,
} as const

export type RetriableError = keyof typeof CODES

export function codeOf(error: RetriableError): number {
  return CODES[error]
}

/** A request as this repository sends it: other versions pass through untouched. */
export interface FaultyApi {
  readonly name: string
  readonly key: number
  readonly version: number
  /** What a broker answers without having done anything. */
  readonly before: readonly RetriableError[]
  /** What it may answer although it has. */
  readonly after: readonly RetriableError[]
  /** The body of such an answer to the request of that body. */
  refuse(request: Buffer, code: number): Buffer
  /** Where the error codes lie in the body of an answer. */
  errorsIn(answer: Buffer): readonly number[]
}

const COORDINATOR = ['COORDINATOR_LOAD_IN_PROGRESS', 'COORDINATOR_NOT_AVAILABLE', 'NOT_COORDINATOR'] as const
const TRANSACTION = [...COORDINATOR, 'CONCURRENT_TRANSACTIONS'] as const

type Topics = readonly { readonly name: string; readonly partitions: readonly number[] }[]

function topicsIn(reader: WireReader, skipRest: () => void): Topics {
  return reader.array(() => {
    const name = reader.string() ?? ''
    const partitions = reader.array(() => {
      const partition = reader.int32()
      skipRest()
      return partition
    })
    return { name, partitions }
  })
}

function writeTopics(writer: WireWriter, topics: Topics, write: (partition: number) => void): WireWriter {
  return writer.array(topics, ({ name, partitions }) => {
    writer.string(name).array(partitions, (partition) => {
      writer.int32(partition)
      write(partition)
    })
  })
}

/** Positions of an INT16 behind the index of each partition, `skipRest` bringing the reader behind the partition. */
function partitionErrors(reader: WireReader, skipRest: () => void): readonly number[] {
  const positions: number[] = []
  reader.array(() => {
    reader.string()
    reader.array(() => {
      reader.int32()
      positions.push(reader.position)
      reader.int16()
      skipRest()
    })
  })
  return positions
}

/** An answer that is throttle_time_ms INT32, error INT16 and fields that an error leaves empty. */
function simple(
  name: string,
  key: number,
  version: number,
  errors: { readonly before: readonly RetriableError[]; readonly after?: readonly RetriableError[] },
  writeEmpty: (writer: WireWriter) => WireWriter = (writer) => writer,
): FaultyApi {
  return {
    name,
    key,
    version,
    before: errors.before,
    after: errors.after ?? [],
    refuse: (_request, code) => writeEmpty(wireWriter().int32(0).int16(code)).end(),
    errorsIn: () => [4],
  }
}

const produce: FaultyApi = {
  name: 'Produce',
  key: 0,
  version: 8,
  before: [
    'NOT_LEADER_OR_FOLLOWER',
    'UNKNOWN_TOPIC_OR_PARTITION',
    'LEADER_NOT_AVAILABLE',
    'NOT_ENOUGH_REPLICAS',
    'KAFKA_STORAGE_ERROR',
  ],
  after: ['REQUEST_TIMED_OUT', 'NOT_ENOUGH_REPLICAS_AFTER_APPEND', 'NOT_LEADER_OR_FOLLOWER'],
  refuse(request, code) {
    const reader = wireReader(request, 'Produce')
    reader.string()
    reader.int16()
    reader.int32()
    const topics = topicsIn(reader, () => void reader.bytes())
    const writer = wireWriter()
    const refused = () => void writer.int16(code).int64(-1).int64(-1).int64(-1).int32(0).string(null)
    return writeTopics(writer, topics, refused).int32(0).end()
  },
  errorsIn(answer) {
    const reader = wireReader(answer, 'Produce')
    return partitionErrors(reader, () => {
      for (let skipped = 0; skipped < 3; skipped++) reader.bigint64()
      reader.array(() => [reader.int32(), reader.string()])
      reader.string()
    })
  },
}

const fetch: FaultyApi = {
  name: 'Fetch',
  key: 1,
  version: 11,
  before: [
    'NOT_LEADER_OR_FOLLOWER',
    'REPLICA_NOT_AVAILABLE',
    'UNKNOWN_TOPIC_OR_PARTITION',
    'FENCED_LEADER_EPOCH',
    'UNKNOWN_LEADER_EPOCH',
    'OFFSET_NOT_AVAILABLE',
    'KAFKA_STORAGE_ERROR',
  ],
  after: [],
  refuse(request, code) {
    const reader = wireReader(request, 'Fetch')
    for (let skipped = 0; skipped < 4; skipped++) reader.int32()
    reader.int8()
    reader.int32()
    reader.int32()
    const topics = topicsIn(reader, () => {
      reader.int32()
      reader.bigint64()
      reader.bigint64()
      reader.int32()
    })
    const writer = wireWriter().int32(0).int16(0).int32(0)
    const refused = () => void writer.int16(code).int64(-1).int64(-1).int64(-1).int32(0).int32(-1).int32(0)
    return writeTopics(writer, topics, refused).end()
  },
  errorsIn: () => [],
}

const listOffsets: FaultyApi = {
  name: 'ListOffsets',
  key: 2,
  version: 5,
  before: ['NOT_LEADER_OR_FOLLOWER', 'LEADER_NOT_AVAILABLE', 'OFFSET_NOT_AVAILABLE', 'UNKNOWN_LEADER_EPOCH'],
  after: [],
  refuse(request, code) {
    const reader = wireReader(request, 'ListOffsets')
    reader.int32()
    reader.int8()
    const topics = topicsIn(reader, () => [reader.int32(), reader.bigint64()])
    const writer = wireWriter().int32(0)
    return writeTopics(writer, topics, () => void writer.int16(code).int64(-1).int64(-1).int32(-1)).end()
  },
  errorsIn: () => [],
}

const offsetCommit: FaultyApi = {
  name: 'OffsetCommit',
  key: 8,
  version: 7,
  before: COORDINATOR,
  after: ['COORDINATOR_NOT_AVAILABLE'],
  refuse(request, code) {
    const reader = wireReader(request, 'OffsetCommit')
    reader.string()
    reader.int32()
    reader.string()
    reader.string()
    const topics = topicsIn(reader, () => [reader.bigint64(), reader.int32(), reader.string()])
    const writer = wireWriter().int32(0)
    return writeTopics(writer, topics, () => void writer.int16(code)).end()
  },
  errorsIn(answer) {
    const reader = wireReader(answer, 'OffsetCommit')
    reader.int32()
    return partitionErrors(reader, () => {})
  },
}

const addPartitionsToTxn: FaultyApi = {
  name: 'AddPartitionsToTxn',
  key: 24,
  version: 1,
  before: TRANSACTION,
  after: ['COORDINATOR_NOT_AVAILABLE'],
  refuse(request, code) {
    const reader = wireReader(request, 'AddPartitionsToTxn')
    reader.string()
    reader.bigint64()
    reader.int16()
    const topics = topicsIn(reader, () => {})
    const writer = wireWriter().int32(0)
    return writeTopics(writer, topics, () => void writer.int16(code)).end()
  },
  errorsIn: offsetCommit.errorsIn,
}

const nothing = Buffer.alloc(0)

export const FAULTY_APIS: readonly FaultyApi[] = [
  produce,
  fetch,
  listOffsets,
  offsetCommit,
  {
    ...simple('OffsetFetch', 9, 5, { before: COORDINATOR }),
    refuse: (_request, code) => wireWriter().int32(0).int32(0).int16(code).end(),
  },
  simple(
    'FindCoordinator',
    10,
    2,
    { before: ['COORDINATOR_NOT_AVAILABLE', 'COORDINATOR_LOAD_IN_PROGRESS'] },
    (writer) => writer.string(null).int32(-1).string('').int32(-1),
  ),
  simple('JoinGroup', 11, 5, { before: COORDINATOR }, (writer) =>
    writer.int32(-1).string('').string('').string('').int32(0),
  ),
  simple('Heartbeat', 12, 3, { before: [...COORDINATOR, 'REBALANCE_IN_PROGRESS'] }),
  simple('SyncGroup', 14, 3, { before: [...COORDINATOR, 'REBALANCE_IN_PROGRESS'] }, (writer) => writer.bytes(nothing)),
  simple('InitProducerId', 22, 1, { before: TRANSACTION, after: ['COORDINATOR_NOT_AVAILABLE'] }, (writer) =>
    writer.int64(-1).int16(-1),
  ),
  addPartitionsToTxn,
  simple('EndTxn', 26, 1, { before: TRANSACTION, after: ['COORDINATOR_NOT_AVAILABLE'] }),
]
