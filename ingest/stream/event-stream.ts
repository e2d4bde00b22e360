import type { ServerResponse } from 'node:http'
import type { Clock } from '../../infra/runtime/clock.ts'
import type { PredictionView } from '../answers/answers.ts'

/*
 * Server-sent events as they are written here, each ended by an empty line:
 *
 *   retry: <ms>                       at the beginning, with the position it begins at
 *   id: <position>
 *
 *   id: <position>                    where to resume behind this one
 *   event: prediction
 *   data: <JSON, one line>
 *
 *   : heartbeat                       an id without data moves the client's position and is no event to it
 *   id: <position>
 *
 *   id: <position>                    the last one: what comes next has to be asked for from here
 *   event: cut
 *   data: {"reason": …, "detail": …, "resume": <position>}
 */

export interface EventStreamOptions {
  readonly clock: Clock
  /** How long a client may leave what was written to it unread. */
  readonly stallMs: number
  /** Nobody is waited for any longer once it aborts. */
  readonly signal: AbortSignal
}

/** One response that is written as events; bounded, because nothing is written while the last waits in the socket. */
export interface EventStream {
  begin(retryMs: number, id: string): void
  /** False: the client is gone, or has not read what was written for too long. */
  prediction(prediction: PredictionView, id: string): Promise<boolean>
  /** Left out while something is on its way. */
  heartbeat(id: string): void
  /** The last event and the end; a client that does not read it either is disconnected. */
  cut(reason: string, detail: string, id: string): Promise<void>
}

const LAST_MS = 1_000

export function createEventStream(raw: ServerResponse, { clock, stallMs, signal }: EventStreamOptions): EventStream {
  const isOpen = (): boolean => !(raw.destroyed || raw.writableEnded)

  /** Resolves when the event comes, the response is closed or the signal aborts; false when none of them does. */
  async function within(ms: number, event: 'drain' | 'finish'): Promise<boolean> {
    const waiting = new AbortController()
    let came = false
    const come = (): void => {
      came = true
      waiting.abort()
    }
    raw.once(event, come).once('close', come)
    signal.addEventListener('abort', come)
    await clock.sleep(ms, waiting.signal)
    signal.removeEventListener('abort', come)
    raw.off(event, come).off('close', come)
    return came
  }

  return {
    begin(retryMs, id) {
      raw.write(`retry: ${retryMs}\nid: ${id}\n\n`)
    },
    async prediction(prediction, id) {
      if (!isOpen()) return false
      if (raw.write(`id: ${id}\nevent: prediction\ndata: ${textOf(prediction)}\n\n`)) return true
      return (await within(stallMs, 'drain')) && isOpen()
    },
    heartbeat(id) {
      if (isOpen() && !raw.writableNeedDrain) raw.write(`: heartbeat\nid: ${id}\n\n`)
    },
    async cut(reason, detail, id) {
      if (!isOpen()) return
      raw.end(`id: ${id}\nevent: cut\ndata: ${JSON.stringify({ reason, detail, resume: id })}\n\n`)
      if (!(await within(LAST_MS, 'finish'))) raw.destroy()
    },
  }
}

/** Written once for all who get it. */
const texts = new WeakMap<PredictionView, string>()

function textOf(prediction: PredictionView): string {
  let text = texts.get(prediction)
  if (text === undefined) {
    text = JSON.stringify(prediction)
    texts.set(prediction, text)
  }
  return text
}
