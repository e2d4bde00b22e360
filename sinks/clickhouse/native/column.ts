/*
 * Columns of the format Native, little-endian, for n rows:
 *
 *   Bool, Int32, Float32     n values
 *   Int64, UInt64, times     n values of 8 bytes
 *   String                   n times a length and so many bytes
 *   Nullable(T)              n bytes, 1 = NULL; then T, which has some value there too
 *   Array(T)                 n uint64, where each row's items end; then all items as T
 *   LowCardinality(String)   uint64 1; uint64 size of an index (0 = 1, 1 = 2, 2 = 4 bytes) + 512 (keys follow);
 *                            uint64 count of keys, the keys as String; uint64 n, n indexes.
 *                            Of LowCardinality(Nullable(String)) the first key stands for NULL
 */

/** One column of a block that is being filled. Rows are written in their order, each once; `grow` comes before a row does not fit. */
export interface Column {
  /** Makes room for so many rows; keeps what is there. */
  grow(rows: number): void
  /** A value as a row of `RowKind` has it. */
  add(row: number, value: unknown): void
  /** Of the first `rows` rows. */
  size(rows: number): number
  /** The position after them. */
  writeTo(target: Buffer, at: number, rows: number): number
  /** Forgets all rows. */
  clear(): void
}
