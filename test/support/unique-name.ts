import { randomBytes } from 'node:crypto'

/** A name no other test, run or process uses: valid as a pipeline, a topic, a database or a folder. */
export function uniqueName(prefix: string): string {
  return `${prefix}_${randomBytes(5).toString('hex')}`
}
