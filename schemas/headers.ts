/** Headers on the events topic. */
export const TENANT_HEADER = 'millrace-tenant'
export const TRACEPARENT_HEADER = 'traceparent'
export const REPLAY_OF_HEADER = 'millrace-replay-of'

/** Where a dead letter is, as the header of its replay names it: `<topic>-<partition>-<offset>`. */
export interface LetterPlace {
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

export function letterPlaceText({ topic, partition, offset }: LetterPlace): string {
  return `${topic}-${partition}-${offset}`
}

/** Null when the text names no letter. */
export function parseLetterPlace(text: string): LetterPlace | null {
  const [, topic = '', partition, offset] = /^(.+)-(\d{1,9})-(\d{1,15})$/.exec(text) ?? []
  return partition === undefined ? null : { topic, partition: Number(partition), offset: Number(offset) }
}
