import { inflateRawSync } from 'node:zlib'
import { rejected } from '../../../infra/runtime/errors.ts'
import { MAX_CONTAINER_BYTES, MAX_META_ENTRIES } from '../limits.ts'
import { AvroWalk } from './walk.ts'

/*
 * Avro object container file:
 *
 *   4 bytes    O b j 1
 *   map        text → bytes: avro.schema (JSON), avro.codec (absent = null)
 *   16 bytes   sync marker
 *   blocks     long count of records, long bytes, so many bytes (compressed as the codec says), the sync marker
 */
const MAGIC = Buffer.from([0x4f, 0x62, 0x6a, 0x01])
const SYNC_BYTES = 16

export interface Container {
  /** What the records were written with, as JSON. */
  readonly schema: string
  /** Decompressed; together at most 16 MiB, each with at least one record. */
  readonly blocks: readonly { readonly count: number; readonly bytes: Buffer }[]
}

/** Throws `invalid_body` or `too_many_events` (reject). What is too much is refused before more of it is decompressed. */
export function readContainer(body: Buffer, maxEvents: number): Container {
  const walk = new AvroWalk()
  walk.bytes = body
  walk.end = body.length
  if (!body.subarray(0, MAGIC.length).equals(MAGIC)) throw unreadable(0, 'this is no Avro container file')
  walk.at = MAGIC.length
  const meta = readMeta(walk)
  const schema = meta.get('avro.schema')?.toString()
  const codec = meta.get('avro.codec')?.toString() ?? 'null'
  if (schema === undefined) throw unreadable(walk.at, 'the file names no schema')
  if (codec !== 'null' && codec !== 'deflate') throw unreadable(walk.at, `the codec is neither null nor deflate`)
  const sync = take(walk, SYNC_BYTES)
  const blocks: { readonly count: number; readonly bytes: Buffer }[] = []
  let room = MAX_CONTAINER_BYTES
  let events = 0
  while (walk.at < walk.end) {
    const count = walk.long()
    // a compressed block costs much to open however little is in it
    if (!(count > 0)) throw unreadable(walk.at, 'a block has no records')
    events += count
    if (events > maxEvents) throw rejected('too_many_events', `a request may have ${maxEvents} events`)
    const packed = take(walk, walk.length())
    const bytes = codec === 'null' ? packed : inflate(packed, room, walk.at)
    room -= bytes.length
    if (room < 0) throw tooLarge()
    if (!take(walk, SYNC_BYTES).equals(sync)) throw unreadable(walk.at, 'a block does not end with the sync marker')
    blocks.push({ count, bytes })
  }
  return { schema, blocks }
}

function readMeta(walk: AvroWalk): ReadonlyMap<string, Buffer> {
  const meta = new Map<string, Buffer>()
  let entries = 0
  for (let count = walk.long(); count !== 0; count = walk.long()) {
    if (count < 0) walk.length()
    if (!(Math.abs(count) <= walk.end - walk.at)) throw unreadable(walk.at, 'the header is cut off')
    entries += Math.abs(count)
    if (entries > MAX_META_ENTRIES) throw unreadable(walk.at, `the header has more than ${MAX_META_ENTRIES} entries`)
    for (let left = Math.abs(count); left > 0; left--) {
      const key = take(walk, walk.length()).toString()
      meta.set(key, take(walk, walk.length()))
    }
  }
  return meta
}

function take(walk: AvroWalk, count: number): Buffer {
  const start = walk.at
  if (!walk.pass(count)) throw unreadable(start, 'the file is cut off')
  return walk.bytes.subarray(start, walk.at)
}

function inflate(packed: Buffer, room: number, at: number): Buffer {
  try {
    return inflateRawSync(packed, { maxOutputLength: Math.max(1, room) })
  } catch (error) {
    if ((error as { readonly code?: unknown }).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge()
    throw unreadable(at, 'a block cannot be decompressed')
  }
}

function tooLarge(): Error {
  return rejected('invalid_body', `the file is larger than ${MAX_CONTAINER_BYTES} bytes when it is decompressed`)
}

function unreadable(at: number, what: string): Error {
  return rejected('invalid_body', `${what} (at byte ${at})`)
}
