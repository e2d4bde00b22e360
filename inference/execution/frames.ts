/*
 * What an executor and its child tell one another, over one stream each way. A frame, in little-endian:
 *
 *    0  u32  MAGIC
 *    4  u8   kind
 *    5  u8   why it failed: an index of FAULTS; 0 otherwise
 *    6  u16  0
 *    8  u32  request: an answer carries that of its request
 *   12  u32  model: a number that the executor gives to what it prepares; 0 where there is none
 *   16  u32  bytes of the body that follows
 *   20  u32  what it took the child, µs, in the answer to a run; 0 otherwise
 *
 *   hello    →  done                     the child is there
 *   prepare  →  done | failed            body: what to load (v8.serialize)
 *   run      →  done | failed            body: rows, float32; done's body: outputs, float32
 *   retire   →  done
 *   close    →  the child ends
 *
 * The child answers in the order of the requests, one after the other; failed's body is a code, a line feed, and a text.
 */

export const HEADER_BYTES = 24
export const LONGEST_FAILURE_BYTES = 4_096
const MAGIC = 0x4d4c_5246

const KINDS = ['hello', 'prepare', 'run', 'retire', 'close', 'done', 'failed'] as const
export type FrameKind = (typeof KINDS)[number]

/** Why a request failed; `refused` = the model is none that may be run. */
export const FAULTS = ['rows', 'allocation', 'refused'] as const
export type FrameFault = (typeof FAULTS)[number]

export interface FrameHeader {
  readonly kind: FrameKind
  readonly fault: FrameFault
  readonly request: number
  readonly model: number
  readonly bytes: number
  /** Microseconds. */
  readonly took: number
}

type Written = Omit<FrameHeader, 'fault' | 'took'> & Partial<Pick<FrameHeader, 'fault' | 'took'>>

export function writeHeader(header: Written): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES)
  bytes.writeUInt32LE(MAGIC, 0)
  bytes.writeUInt8(KINDS.indexOf(header.kind), 4)
  bytes.writeUInt8(FAULTS.indexOf(header.fault ?? 'rows'), 5)
  bytes.writeUInt32LE(header.request, 8)
  bytes.writeUInt32LE(header.model, 12)
  bytes.writeUInt32LE(header.bytes, 16)
  bytes.writeUInt32LE(header.took ?? 0, 20)
  return bytes
}

/** Null when it is no header. */
export function readHeader(bytes: Buffer): FrameHeader | null {
  const kind = KINDS[bytes.readUInt8(4)]
  const fault = FAULTS[bytes.readUInt8(5)]
  if (bytes.readUInt32LE(0) !== MAGIC || kind === undefined || fault === undefined) return null
  return {
    kind,
    fault,
    request: bytes.readUInt32LE(8),
    model: bytes.readUInt32LE(12),
    bytes: bytes.readUInt32LE(16),
    took: bytes.readUInt32LE(20),
  }
}
