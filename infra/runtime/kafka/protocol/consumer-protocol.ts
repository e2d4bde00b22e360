import { wireReader, wireWriter } from './wire.ts'

/*
 * What members of a group of protocol type `consumer` tell one another through the coordinator; tools read it to show the
 * assignment of a group.
 *
 *   subscription   version: INT16 = 0, topics: ARRAY of STRING, user_data: BYTES
 *   assignment     version: INT16 = 0, topics: ARRAY of { name: STRING, partitions: ARRAY of INT32 }, user_data: BYTES
 *
 * The user data is ours, in a subscription and in an assignment:
 *
 *   claim          version: INT8 = 1, generation: INT32, partitions: ARRAY of INT32
 *   released       version: INT8 = 1, partitions: ARRAY of INT32
 */

/** What a member has when it joins: partitions that it owned in a generation, with those that it is draining. */
export interface Claim {
  /** -1 = it was in none. */
  readonly generation: number
  readonly owned: readonly number[]
}

/** What a member gets. */
export interface Assignment {
  readonly partitions: readonly number[]
  /** What it claimed and has to give back: it joins again without, and the next round gives them away. */
  readonly released: readonly number[]
}

const CONSUMER_VERSION = 0
const CLAIM_VERSION = 1
const RELEASED_VERSION = 1
const NOTHING: Claim = { generation: -1, owned: [] }

export function encodeSubscription(topic: string, { generation, owned }: Claim): Buffer {
  const claim = wireWriter()
    .int8(CLAIM_VERSION)
    .int32(generation)
    .array(owned, (partition, writer) => writer.int32(partition))
    .end()
  return wireWriter()
    .int16(CONSUMER_VERSION)
    .array([topic], (name, writer) => writer.string(name))
    .bytes(claim)
    .end()
}

/** Null when it is not subscribed to the topic. A stranger's user data claims nothing. Throws `malformed_response`. */
export function decodeClaim(subscription: Buffer, topic: string): Claim | null {
  const reader = wireReader(subscription, 'a subscription')
  reader.int16()
  if (!reader.array(() => reader.string()).includes(topic)) return null
  const userData = reader.bytes() ?? Buffer.alloc(0)
  if (userData[0] !== CLAIM_VERSION || userData.length < 9) return NOTHING
  const claim = wireReader(userData, 'a claim')
  claim.int8()
  return { generation: claim.int32(), owned: claim.array(() => claim.int32()) }
}

export function encodeAssignment(topic: string, { partitions, released }: Assignment): Buffer {
  const userData = wireWriter()
    .int8(RELEASED_VERSION)
    .array(released, (partition, writer) => writer.int32(partition))
    .end()
  return wireWriter()
    .int16(CONSUMER_VERSION)
    .array(partitions.length === 0 ? [] : [topic], (name, writer) =>
      writer.string(name).array(partitions, (partition) => writer.int32(partition)),
    )
    .bytes(userData)
    .end()
}

/** Of the topic; an empty assignment is that of a member that gets nothing. Throws `malformed_response`. */
export function decodeAssignment(assignment: Buffer, topic: string): Assignment {
  if (assignment.length === 0) return { partitions: [], released: [] }
  const reader = wireReader(assignment, 'an assignment')
  reader.int16()
  const topics = reader.array(() => ({ name: reader.string(), partitions: reader.array(() => reader.int32()) }))
  const partitions = topics.find(({ name }) => name === topic)?.partitions ?? []
  const userData = reader.bytes() ?? Buffer.alloc(0)
  if (userData[0] !== RELEASED_VERSION || userData.length < 5) return { partitions, released: [] }
  const released = wireReader(userData, 'released partitions')
  released.int8()
  return { partitions, released: released.array(() => released.int32()) }
}
