/**
 * Files of model versions by the SHA-256 of their content, in hex. What is in it never changes; writing twice is no harm, and
 * several processes may write at once.
 */
export interface ModelStore {
  /** Where it is, for messages. */
  readonly place: string
  /** Rejects with `model_store_unavailable` (retry) while it cannot be asked. */
  has(digest: string): Promise<boolean>
  /** Stores what the file contains, whole or not at all; answers its digest. */
  put(file: string): Promise<string>
  /**
   * Writes the content of that digest to a new, read-only file, and has verified it when it resolves. Rejects with
   * `model_not_stored` or `model_store_corrupt` (crash); then there is no such file.
   */
  get(digest: string, file: string): Promise<void>
  /** Once. */
  close(): Promise<void>
}
