/** Of a row and its outputs, of so many floats. */
export function bytesOfRow(width: number, outputWidth: number): number {
  return (width + outputWidth) * Float32Array.BYTES_PER_ELEMENT
}

/** Most rows that a batch may have, whatever they cost; at least 1. */
export function largestBatch(
  rowBytes: number,
  { maxRows, maxBytes }: { readonly maxRows: number; readonly maxBytes: number },
): number {
  return Math.max(1, Math.floor(Math.min(maxRows, maxBytes / rowBytes)))
}
