import type { SpareMemory } from '../../../infra/runtime/spare-memory.ts'

/** Rows as JSONEachRow has them, each with its line end, in one piece of memory: a text of its own for each would stay until a full collection. */
export interface LineRows {
  append(line: string, size: number): void
  take(): { readonly body: Buffer; readonly memory: Buffer; readonly pick: (rows: readonly number[]) => Buffer }
}

/** Of the memory that rows begin with. */
const FIRST_BYTES = 65_536
const NEW_LINE = 0x0a

/** With its line end. */
export const lineSize = (line: string): number => Buffer.byteLength(line) + 1

export function lineRows(maxBytes: number, spare: Pick<SpareMemory, 'take'>): LineRows {
  const ends: number[] = []
  let memory: Buffer = Buffer.alloc(0)
  let bytes = 0
  return {
    append(line, size) {
      if (bytes + size > memory.length) {
        const wanted = Math.min(Math.max(2 * memory.length, FIRST_BYTES), maxBytes)
        const larger = spare.take(Math.max(wanted, bytes + size))
        memory.copy(larger, 0, 0, bytes)
        memory = larger
      }
      memory.write(line, bytes)
      bytes += size
      memory[bytes - 1] = NEW_LINE
      ends.push(bytes)
    },
    take() {
      const body = memory.subarray(0, bytes)
      const pick = (rows: readonly number[]): Buffer =>
        Buffer.concat(rows.map((row) => body.subarray(row === 0 ? 0 : ends[row - 1], ends[row])))
      return { body, memory, pick }
    },
  }
}
