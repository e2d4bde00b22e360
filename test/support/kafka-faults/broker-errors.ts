import type { Direction, Relay } from '../fault-proxy.ts'
import { codeOf, FAULTY_APIS, type FaultyApi, type RetriableError } from './apis.ts'

/*
 * Frames of the Kafka protocol: length INT32, then
 *   request   api_key INT16, api_version INT16, correlation_id INT32, client_id NULLABLE_STRING, body
 *   response  correlation_id INT32, body
 * A connection's answers come in the order of its requests.
 */

/** `before`: the broker is not asked. `after`: it does what it is asked to, and the client is told that it failed. */
export interface ScriptedError {
  readonly api: string
  readonly error: RetriableError
  readonly when: 'before' | 'after'
}

export interface BrokerErrors {
  /** For `startProxiedBroker`. */
  readonly relay: (send: (direction: Direction, bytes: Buffer) => void) => Relay
  /** What has been answered, in order. */
  readonly answered: readonly ScriptedError[]
  /** What has not. */
  left(): readonly ScriptedError[]
}

/** Every retriable error of every request, before and after, of the APIs named; all by default. */
export function everyRetriableError(apis?: readonly string[]): readonly ScriptedError[] {
  return FAULTY_APIS.filter(({ name }) => apis === undefined || apis.includes(name)).flatMap(
    ({ name: api, before, after }) => [
      ...before.map((error): ScriptedError => ({ api, error, when: 'before' })),
      ...after.map((error): ScriptedError => ({ api, error, when: 'after' })),
    ],
  )
}

/**
 * Answers each scripted error once, whoever asks: those of an API in their order, each at the `every`th request of it since
 * the last.
 */
export function createBrokerErrors(script: readonly ScriptedError[], every = 1): BrokerErrors {
  const waiting = Map.groupBy(script, ({ api }) => api)
  const passed = new Map<string, number>()
  const answered: ScriptedError[] = []

  function next(api: FaultyApi): ScriptedError | null {
    const count = (passed.get(api.name) ?? 0) + 1
    passed.set(api.name, count % every)
    const error = count === every ? waiting.get(api.name)?.shift() : undefined
    if (error !== undefined) answered.push(error)
    return error ?? null
  }

  return {
    answered,
    left: () => [...waiting.values()].flat(),
    relay: (send) => relay(send, next),
  }
}

interface Exchange {
  readonly correlation: number
  /** To be changed in the answer. */
  readonly alter: { readonly api: FaultyApi; readonly error: ScriptedError } | null
  answer: Buffer | null
}

function relay(
  send: (direction: Direction, bytes: Buffer) => void,
  next: (api: FaultyApi) => ScriptedError | null,
): Relay {
  const exchanges: Exchange[] = []
  const requests = frames((frame) => {
    const key = frame.readInt16BE(4)
    const version = frame.readInt16BE(6)
    const correlation = frame.readInt32BE(8)
    const api = FAULTY_APIS.find((each) => each.key === key && each.version === version)
    const error = api === undefined ? null : next(api)
    if (api === undefined || error === null || error.when === 'after') {
      const alter = api === undefined || error === null ? null : { api, error }
      exchanges.push({ correlation, alter, answer: null })
      send('toServer', frame)
      return
    }
    const body = frame.subarray(14 + Math.max(0, frame.readInt16BE(12)))
    exchanges.push({ correlation, alter: null, answer: framed(correlation, api.refuse(body, codeOf(error.error))) })
    flush()
  })
  const answers = frames((frame) => {
    const correlation = frame.readInt32BE(4)
    const exchange = exchanges.find((each) => each.correlation === correlation && each.answer === null)
    if (exchange === undefined) throw new Error(`the broker answers ${correlation}, which nobody asked`)
    const { alter } = exchange
    if (alter !== null) {
      for (const at of alter.api.errorsIn(frame.subarray(8))) frame.writeInt16BE(codeOf(alter.error.error), 8 + at)
    }
    exchange.answer = frame
    flush()
  })
  function flush(): void {
    for (let head = exchanges[0]; head?.answer != null; head = exchanges[0]) {
      send('toClient', head.answer)
      exchanges.shift()
    }
  }
  return { fromClient: requests, fromServer: answers }
}

function framed(correlation: number, body: Buffer): Buffer {
  const frame = Buffer.alloc(8 + body.length)
  frame.writeInt32BE(4 + body.length, 0)
  frame.writeInt32BE(correlation, 4)
  body.copy(frame, 8)
  return frame
}

/** Takes bytes as they come, and gives whole frames with their length. */
function frames(each: (frame: Buffer) => void): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0)
  return (chunk) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    while (rest.length >= 4 && rest.length >= 4 + rest.readInt32BE(0)) {
      const end = 4 + rest.readInt32BE(0)
      each(Buffer.from(rest.subarray(0, end)))
      rest = rest.subarray(end)
    }
  }
}
