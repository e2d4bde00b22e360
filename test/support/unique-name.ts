import { randomBytes } from 'node:crypto'

/** A name no other test, run or process uses: valid as a pipeline, a topic, a consumer group or a folder. */
export function uniqueName(prefix: string): string {
  return `${prefix}-${randomBytes(5).toString('hex')}`
}
