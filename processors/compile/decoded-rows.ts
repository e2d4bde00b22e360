import type { LookupKeys } from './lookup-sites.ts'

/** What a decoder makes of the records of a batch, by row; used again for later batches, but for the features. */
export interface DecodedRows {
  readonly capacity: number
  /** 1 = everything below is there. 0 = the readable path has to tell what becomes of the record. */
  readonly decoded: Uint8Array
  readonly idStarts: Int32Array
  readonly idLengths: Int32Array
  /** Of the segment's text in the batch's bytes; -1 = it is in `segmentTexts`. */
  readonly segmentStarts: Int32Array
  readonly segmentLengths: Int32Array
  readonly segmentTexts: string[]
  /** Event time, epoch ms. */
  readonly times: Float64Array
  /** [length, width]; lookups are filled in later. */
  features: Float32Array
  readonly degraded: Uint8Array
  /** Key of each lookup site. */
  readonly keys: LookupKeys
}

export function createDecodedRows(capacity: number, sites: number): DecodedRows {
  return {
    capacity,
    decoded: new Uint8Array(capacity),
    idStarts: new Int32Array(capacity),
    idLengths: new Int32Array(capacity),
    segmentStarts: new Int32Array(capacity),
    segmentLengths: new Int32Array(capacity),
    segmentTexts: [],
    times: new Float64Array(capacity),
    features: new Float32Array(0),
    degraded: new Uint8Array(capacity),
    keys: Array.from({ length: sites }, () => new Array<string | null>(capacity).fill(null)),
  }
}
