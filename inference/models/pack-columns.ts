/** What pack-columns.wat says, assembled; a test assembles it again. */
export const PACK_COLUMNS = Buffer.from(
  'AGFzbQEAAAABFAJgBn9/f39/fwBgBn9/f39/fwF/AwMCAAEFAwEAAQcdAwZtZW1vcnkCAARjb3B5AAAJY29weVdob2xlAAEKoQMCiQEBA38gBUF8cUECdCEHIAVBAnQhCAJAA0AgBEUNAUEAIQYCQANAIAYgB08NASACIAZqIAAgBmr9AAQA/QsEACAGQRBqIQYMAAsLAkADQCAGIAhPDQEgAiAGaiAAIAZqKAIANgIAIAZBBGohBgwACwsgACABaiEAIAIgA2ohAiAEQQFrIQQMAAsLC5MCBAN/A3sBfQJ//Qz/////////////////////IQtBASEOAkADQCAERQ0BIAAhBiACIQcgBSEIAkADQCAIQQRJDQEgBv0ABAAhCSAJ/fgBIQogCyAK/foBIAn9QSAJ/QwAAABPAAAATwAAAE8AAABP/UP9Tv1OIQsgByAK/ccB/QsEACAHIAr9yAH9CwQQIAZBEGohBiAHQSBqIQcgCEEEayEIDAALCwJAA0AgCEUNASAGKgIAIQwgDPwAIQ0gDiANsiAMWyAMQwAAAE9dcXEhDiAHIA2sNwMAIAZBBGohBiAHQQhqIQcgCEEBayEIDAALCyAAIAFqIQAgAiADaiECIARBAWshBAwACwsgDiAL/aMBcQs=',
  'base64',
)

/** Of the global of that name, whose types come with a browser's only: what is used here. */
declare const WebAssembly: {
  readonly Module: new (bytes: Buffer) => object
  readonly Instance: new (module: object) => { readonly exports: unknown }
}

interface Kernel {
  readonly memory: { readonly buffer: ArrayBuffer; grow(pages: number): number }
  copy(from: number, fromStride: number, to: number, toStride: number, count: number, columns: number): undefined
  copyWhole(from: number, fromStride: number, to: number, toStride: number, count: number, columns: number): 0 | 1
}

const PAGE_BYTES = 65_536
const FLOAT_BYTES = Float32Array.BYTES_PER_ELEMENT
const WHOLE_BYTES = BigInt64Array.BYTES_PER_ELEMENT

let compiled: object | null = null

/** Some of the columns of rows, one row behind the other. Columns that are neighbours are a run. */
export interface ColumnSet {
  readonly type: 'float32' | 'int64'
  readonly width: number
  readonly runs: readonly { readonly first: number; readonly at: number; readonly length: number }[]
}

export function columnSet(type: ColumnSet['type'], columns: readonly number[]): ColumnSet {
  const runs: { first: number; at: number; length: number }[] = []
  for (const [at, first] of columns.entries()) {
    const last = runs.at(-1)
    if (last !== undefined && last.first + last.length === first) last.length++
    else runs.push({ first, at, length: 1 })
  }
  return { type, width: columns.length, runs }
}

/**
 * Rows [count, width] → the columns of each set, [count, set.width]. What it answers is valid until it is called again.
 * Throws RangeError when a number of an int64 set is no whole one, and when there is not the memory.
 */
export type PackColumns = (rows: Float32Array, count: number) => (Float32Array | BigInt64Array)[]

/** In memory of its own: loops in JavaScript took 50 to 140 ns for a row of 30 columns, a third of what a small model does. */
export function createPackColumns(width: number, sets: readonly ColumnSet[]): PackColumns {
  compiled ??= new WebAssembly.Module(PACK_COLUMNS)
  const kernel = new WebAssembly.Instance(compiled).exports as Kernel
  const { memory } = kernel
  const stride = width * FLOAT_BYTES

  return (rows, count) => {
    const starts: number[] = []
    let end = aligned(count * stride)
    for (const set of sets) {
      starts.push(end)
      end += aligned(count * set.width * bytesOf(set.type))
    }
    const missing = end - memory.buffer.byteLength
    if (missing > 0) memory.grow(Math.ceil(missing / PAGE_BYTES))
    new Float32Array(memory.buffer, 0, count * width).set(rows)
    return sets.map((set, at) => pack(set, starts[at] as number, rows, count))
  }

  function pack(set: ColumnSet, start: number, rows: Float32Array, count: number): Float32Array | BigInt64Array {
    const bytes = bytesOf(set.type)
    const length = count * set.width
    const copy = set.type === 'int64' ? kernel.copyWhole : kernel.copy
    let fits = true
    for (const run of set.runs) {
      const to = start + run.at * bytes
      const answer = copy(run.first * FLOAT_BYTES, stride, to, set.width * bytes, count, run.length)
      if (answer === 0) fits = false
    }
    if (set.type === 'float32') return new Float32Array(memory.buffer, start, length)
    const whole = new BigInt64Array(memory.buffer, start, length)
    if (!fits) copyLarge(set, rows, width, whole)
    return whole
  }
}

/** Of whole numbers that take more than 32 bits, too. */
function copyLarge(set: ColumnSet, rows: Float32Array, width: number, target: BigInt64Array): void {
  for (let to = 0, from = 0; to < target.length; to += set.width, from += width) {
    for (const { first, at, length } of set.runs) {
      for (let column = 0; column < length; column++) {
        target[to + at + column] = BigInt(rows[from + first + column] as number)
      }
    }
  }
}

/** Of one number. */
export function bytesOf(type: ColumnSet['type']): number {
  return type === 'int64' ? WHOLE_BYTES : FLOAT_BYTES
}

/** To what a vector register holds. */
function aligned(bytes: number): number {
  return (bytes + 15) & ~15
}
