import type { Socket } from 'node:net'
import { MillraceError, retryable } from '../../errors.ts'
import type { KafkaRequest } from '../protocol/request.ts'
import { connectSocket, socketError, type TlsFiles } from './sockets.ts'

/*
 * Requests and answers on one socket, which the broker answers in turn.
 *
 *   request   length: INT32 of what follows, api_key: INT16, api_version: INT16, correlation_id: INT32,
 *             client_id: NULLABLE_STRING, body
 *   response  length: INT32 of what follows, correlation_id: INT32, body
 */

export interface WireOptions {
  readonly host: string
  readonly port: number
  readonly tls: TlsFiles | null | undefined
  readonly clientId: string
  readonly connectTimeoutMs: number
  /** For each answer, counted from when it is the next to come. */
  readonly requestTimeoutMs: number
  /** Gives up a connection that is not open yet; one that is open does not look at it. */
  readonly signal: AbortSignal
}

/** One connection for its life: the first failure ends it, and everything that waits on it. */
export interface WireConnection {
  /** host:port, for errors. */
  readonly broker: string
  readonly open: boolean
  send<T>(request: KafkaRequest<T>): Promise<T>
  /** Resolves when no request waits for an answer, or the connection is closed. */
  idle(): Promise<void>
  /** Rejects what waits. The socket is destroyed at once. */
  close(reason?: MillraceError): void
  /** Resolves when the socket is gone. */
  readonly closed: Promise<void>
}

/** Above what a broker answers with: a fetch is bounded far below. */
const MAX_ANSWER_BYTES = 2 ** 29
const LENGTH_BYTES = 4
const CORRELATION_BYTES = 4

interface Waiting {
  readonly correlationId: number
  readonly request: KafkaRequest<unknown>
  readonly resolve: (answer: unknown) => void
  readonly reject: (error: unknown) => void
}

/** Rejects with `kafka_unavailable` (retry), or `kafka_refused` (crash) when TLS does not come about. */
export function openWireConnection(options: WireOptions): Promise<WireConnection> {
  const broker = `${options.host}:${options.port}`
  return new Promise((resolve, reject) => {
    // no byte comes before the first request
    let onBytes = (_bytes: Buffer): void => {}
    const socket = connectSocket(
      options.host,
      options.port,
      options.tls,
      () => {
        settle()
        const opened = wireConnection(socket, broker, options)
        onBytes = opened.onBytes
        resolve(opened.connection)
      },
      (bytes) => onBytes(bytes),
    )
    const timer = setTimeout(() => {
      fail(new Error(`no connection within ${options.connectTimeoutMs} ms`))
    }, options.connectTimeoutMs)
    socket.once('error', fail)
    options.signal.addEventListener('abort', abort)
    if (options.signal.aborted) abort()

    function settle(): void {
      clearTimeout(timer)
      socket.off('error', fail)
      options.signal.removeEventListener('abort', abort)
    }
    function abort(): void {
      fail(new Error('given up'))
    }
    function fail(error: Error): void {
      settle()
      socket.on('error', () => {})
      socket.destroy()
      reject(socketError(error, broker, true))
    }
  })
}

function wireConnection(
  socket: Socket,
  broker: string,
  options: WireOptions,
): { readonly connection: WireConnection; readonly onBytes: (bytes: Buffer) => void } {
  const clientId = Buffer.from(options.clientId)
  const waiting: Waiting[] = []
  const whenIdle: (() => void)[] = []
  let open = true
  let answered = false
  let correlation = 0
  let timer: NodeJS.Timeout | null = null

  function close(reason: MillraceError = retryable('kafka_unavailable', `${broker}: closed`)): void {
    if (!open) return
    open = false
    armTimer()
    socket.destroy()
    for (const { reject } of waiting.splice(0)) reject(reason)
    for (const resolve of whenIdle.splice(0)) resolve()
  }

  /** One timer for the answer that is next; none while nothing is asked. */
  function armTimer(): void {
    if (timer !== null) clearTimeout(timer)
    timer = null
    const next = waiting[0]
    if (!open || next === undefined) return
    const allowedMs = options.requestTimeoutMs + (next.request.holdMs ?? 0)
    timer = setTimeout(() => {
      close(retryable('kafka_unavailable', `${broker}: no answer to ${next.request.name} within ${allowedMs} ms`))
    }, allowedMs)
  }

  function take(frame: Buffer): void {
    const next = waiting.shift()
    const correlationId = frame.readInt32BE(0)
    if (next === undefined || correlationId !== next.correlationId) {
      const problem = malformed(`an answer with correlation id ${correlationId} to ${next?.request.name ?? 'nothing'}`)
      next?.reject(problem)
      close(problem)
      return
    }
    answered = true
    armTimer()
    try {
      next.resolve(next.request.decode(frame.subarray(CORRELATION_BYTES)))
    } catch (error) {
      const problem =
        error instanceof MillraceError ? error : malformed(`${next.request.name}: ${(error as Error).message}`, error)
      next.reject(problem)
      close(problem)
    }
    if (waiting.length === 0) for (const resolve of whenIdle.splice(0)) resolve()
  }

  function malformed(what: string, cause?: unknown): MillraceError {
    return retryable('malformed_response', `${broker}: ${what}`, cause)
  }

  const onBytes = createFrames(
    take,
    (length) => close(malformed(`an answer of ${length} bytes`)),
    () => open,
  )
  socket.on('error', (error) => close(socketError(error, broker, !answered)))
  const closed = new Promise<void>((resolve) => {
    socket.once('close', () => {
      close(retryable('kafka_unavailable', `${broker}: the connection was closed`))
      resolve()
    })
  })

  const connection: WireConnection = {
    broker,
    get open() {
      return open
    },
    send<T>(request: KafkaRequest<T>): Promise<T> {
      if (!open) return Promise.reject(retryable('kafka_unavailable', `${broker}: the connection is closed`))
      correlation = (correlation + 1) & 0x7fff_ffff
      const correlationId = correlation
      const header = Buffer.allocUnsafe(LENGTH_BYTES + 10 + clientId.length)
      const { body, rest = [] } = request
      const bodyBytes = rest.reduce((sum, piece) => sum + piece.length, body.length)
      header.writeInt32BE(header.length - LENGTH_BYTES + bodyBytes, 0)
      header.writeInt16BE(request.apiKey, 4)
      header.writeInt16BE(request.apiVersion, 6)
      header.writeInt32BE(correlationId, 8)
      header.writeInt16BE(clientId.length, 12)
      clientId.copy(header, 14)
      return new Promise<T>((resolve, reject) => {
        waiting.push({ correlationId, request, resolve: resolve as (answer: unknown) => void, reject })
        if (waiting.length === 1) armTimer()
        socket.cork()
        socket.write(header)
        socket.write(body)
        for (const piece of rest) socket.write(piece)
        socket.uncork()
      })
    },
    idle: () =>
      waiting.length === 0 || !open ? Promise.resolve() : new Promise((resolve) => void whenIdle.push(resolve)),
    close,
    closed,
  }
  return { connection, onBytes }
}

/** Cuts the bytes of a socket into answers, each in memory of its own: that of the bytes is used again. */
function createFrames(
  onFrame: (frame: Buffer) => void,
  onBadLength: (length: number) => void,
  goOn: () => boolean,
): (chunk: Buffer) => void {
  const prefix = Buffer.alloc(LENGTH_BYTES)
  let prefixBytes = 0
  let frame: Buffer | null = null
  let frameBytes = 0

  return (chunk) => {
    let at = 0
    while (goOn() && at < chunk.length) {
      if (frame === null) {
        const copied = chunk.copy(prefix, prefixBytes, at, at + LENGTH_BYTES - prefixBytes)
        prefixBytes += copied
        at += copied
        if (prefixBytes < LENGTH_BYTES) return
        prefixBytes = 0
        const length = prefix.readInt32BE(0)
        if (length < CORRELATION_BYTES || length > MAX_ANSWER_BYTES) return onBadLength(length)
        frame = Buffer.allocUnsafe(length)
        frameBytes = 0
      }
      const copied = chunk.copy(frame, frameBytes, at)
      frameBytes += copied
      at += copied
      if (frameBytes < frame.length) return
      const whole = frame
      frame = null
      onFrame(whole)
    }
  }
}
