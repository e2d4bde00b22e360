import { type ChildProcess, spawn } from 'node:child_process'
import { extname, join } from 'node:path'
import type { Duplex, Readable } from 'node:stream'
import { describeError } from '../../infra/runtime/errors.ts'
import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import { childEnvironment } from './child-environment.ts'
import { watchRequest } from './child-watch.ts'
import type { RunFault } from './executor.ts'
import {
  type FrameFault,
  type FrameHeader,
  type FrameKind,
  HEADER_BYTES,
  LONGEST_FAILURE_BYTES,
  readHeader,
  writeHeader,
} from './frames.ts'

/** One thing that a child is asked. Of `done`, `failed` and the child's death, one comes. */
export interface ChildRequest {
  readonly kind: FrameKind
  readonly model: number
  readonly body: Uint8Array
  /** Bytes of the answer, when it is `done`. */
  readonly answerBytes: number
  /** For this request alone, from when the child has answered those before it. */
  readonly timeoutMs: number
  /** `tookMs`: what a run took the child. */
  done(answer: ArrayBuffer, tookMs: number): void
  failed(fault: FrameFault, code: string, message: string): void
}

export interface ChildDeath {
  /** `killed` = by someone else, as the system does where memory runs out: what it was at may have no part in it. */
  readonly fault: Extract<RunFault, 'crash' | 'timeout' | 'memory'> | 'killed'
  readonly message: string
  /** What it was at; null = nothing. */
  readonly during: ChildRequest | null
  /** What it had not begun. */
  readonly unbegun: readonly ChildRequest[]
}

export interface ChildOptions {
  readonly memoryLimitBytes: number
  readonly logger: Logger
  /** Once, unless `close` was called. */
  died(death: ChildDeath): void
  /** It has answered everything, and has so much memory, bytes. */
  rested(residentBytes: number): void
}

/** A child process that answers one request after the other, and may be killed at any time. */
export interface ExecutorChild {
  /** Bytes, as last seen; null = not known. */
  residentBytes(): number | null
  send(request: ChildRequest): void
  /** Lets it end by itself, kills it when it does not. What is unanswered stays so. */
  close(): Promise<void>
}

const EXTENSION = extname(import.meta.filename)
const CHILD = join(import.meta.dirname, `executor-child${EXTENSION}`)
/** So that a checkout runs its sources. */
const FLAGS = EXTENSION === '.ts' ? ['--conditions=millrace-source'] : []
const FRAMES = 3
const LONGEST_LINE = 2_000
const CLOSE_TIMEOUT_MS = 2_000
/** How long what a dead child has written may take to be read. */
const DRAIN_TIMEOUT_MS = 500

/** Starts a child; whatever becomes of it, this neither throws nor blocks. */
export function startChild(options: ChildOptions): ExecutorChild {
  try {
    const child = spawn(process.execPath, [...FLAGS, CHILD], {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'],
      env: childEnvironment(process.env),
      windowsHide: true,
    })
    child.on('error', (error) => options.logger.error(describeError(error), 'executor child failed'))
    // there are none where no more files can be opened
    if (child.stdio !== undefined) return watched(child, options)
    return stillborn('the child could not be started', options)
  } catch (error) {
    return stillborn(`the child could not be started: ${describeError(error).message}`, options)
  }
}

/** Dies as soon as it may. */
function stillborn(message: string, { died }: ChildOptions): ExecutorChild {
  const requests: ChildRequest[] = []
  const death = setImmediate(() => {
    const [during = null, ...unbegun] = requests
    died({ fault: 'crash', message, during, unbegun })
  })
  return {
    residentBytes: () => null,
    send: (request) => void requests.push(request),
    close() {
      clearImmediate(death)
      return Promise.resolve()
    },
  }
}

function watched(child: ChildProcess, { memoryLimitBytes, logger, died, rested }: ChildOptions): ExecutorChild {
  const stream = child.stdio[FRAMES] as Duplex
  const unanswered: { readonly id: number; readonly request: ChildRequest }[] = []
  let lastId = 0
  let verdict: { readonly fault: ChildDeath['fault']; readonly message: string } | null = null
  let closing = false
  let isGone = false
  const gone = Promise.withResolvers<void>()

  function end(fault: ChildDeath['fault'], message: string): void {
    if (verdict !== null) return
    verdict = { fault, message }
    child.kill('SIGKILL')
  }

  const watch = watchRequest({
    ...{ pid: child.pid, memoryLimitBytes, exceeded: end },
    rested(residentBytes) {
      if (!closing && !isGone && verdict === null) rested(residentBytes)
    },
  })

  function answered(frame: FrameHeader, body: Uint8Array<ArrayBuffer>): void {
    const request = unanswered.shift()?.request
    watch.began(unanswered[0]?.request ?? null)
    if (frame.kind === 'done') {
      request?.done(body.buffer, frame.took / 1_000)
    } else {
      const [code = '', ...lines] = Buffer.from(body).toString().split('\n')
      request?.failed(frame.fault, code, lines.join('\n'))
    }
  }

  function isExpected(frame: FrameHeader | null): frame is FrameHeader {
    const [first] = unanswered
    if (frame === null || first === undefined || frame.request !== first.id) return false
    if (frame.kind === 'done') return frame.bytes === first.request.answerBytes
    return frame.kind === 'failed' && frame.bytes <= LONGEST_FAILURE_BYTES
  }

  const read = frameReader((frame, body) => answered(frame, body), isExpected)
  stream.on('data', (chunk: Buffer) => {
    if (verdict === null && !read(chunk)) end('crash', 'the child answered what is no answer')
  })
  // a stream breaks when the child dies, which says more
  for (const one of child.stdio) one?.on('error', (error) => logger.debug(describeError(error), 'child stream broke'))
  logLines(child.stdio[2] as Readable, logger.child({ pid: child.pid }))

  function ended(message: string, fault: ChildDeath['fault'] = 'crash'): void {
    if (isGone) return
    isGone = true
    watch.began(null)
    for (const one of child.stdio) one?.destroy()
    gone.resolve()
    if (closing) return
    const [during = null, ...unbegun] = unanswered.map(({ request }) => request)
    died({ ...(verdict ?? { fault, message }), during, unbegun })
  }
  child.on('error', (error) => {
    if (child.pid === undefined) ended(`the child could not be started: ${error.message}`)
  })
  child.on('exit', (code, signal) => {
    const message = signal === null ? `the child ended with ${code}` : `the child was ended by ${signal}`
    // what it had answered is read first
    const fault = signal === 'SIGKILL' ? 'killed' : 'crash'
    child.on('close', () => ended(message, fault))
    setTimeout(() => ended(message, fault), DRAIN_TIMEOUT_MS).unref()
  })

  function write(kind: FrameKind, request: number, model: number, body: Uint8Array): void {
    stream.cork()
    stream.write(writeHeader({ kind, request, model, bytes: body.length }))
    if (body.length > 0) stream.write(body)
    stream.uncork()
  }

  return {
    residentBytes: () => watch.residentBytes(),
    send(request) {
      const id = ++lastId % 2 ** 32
      unanswered.push({ id, request })
      if (verdict !== null || isGone) return
      if (unanswered.length === 1) watch.began(request)
      write(request.kind, id, request.model, request.body)
    },
    async close() {
      closing = true
      if (!isGone && verdict === null) write('close', 0, 0, new Uint8Array())
      const late = setTimeout(() => child.kill('SIGKILL'), CLOSE_TIMEOUT_MS)
      await gone.promise
      clearTimeout(late)
    },
  }
}

/** Puts frames together from a stream's chunks; false when one is not expected. */
function frameReader(
  answered: (frame: FrameHeader, body: Uint8Array<ArrayBuffer>) => void,
  isExpected: (frame: FrameHeader | null) => frame is FrameHeader,
): (chunk: Buffer) => boolean {
  const header = Buffer.alloc(HEADER_BYTES)
  let open: { readonly frame: FrameHeader; readonly body: Uint8Array<ArrayBuffer> } | null = null
  let filled = 0
  return (chunk) => {
    let at = 0
    while (at < chunk.length) {
      const into: Uint8Array = open?.body ?? header
      const part = chunk.subarray(at, at + into.length - filled)
      into.set(part, filled)
      filled += part.length
      at += part.length
      if (filled < into.length) return true
      filled = 0
      if (open === null) {
        const frame = readHeader(header)
        if (!isExpected(frame)) return false
        open = { frame, body: new Uint8Array(frame.bytes) }
        if (frame.bytes > 0) continue
      }
      const { frame, body } = open
      open = null
      answered(frame, body)
    }
    return true
  }
}

/** What a child says of itself, line by line; a line without end is cut. */
function logLines(stream: Readable, logger: Logger): void {
  let rest = ''
  const say = (line: string): void => {
    if (line.trim() !== '') logger.warn({ line: line.slice(0, LONGEST_LINE) }, 'executor child says')
  }
  stream.setEncoding('utf8')
  stream.on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = (lines.pop() ?? '').slice(0, LONGEST_LINE)
    for (const line of lines) say(line)
  })
  stream.on('end', () => say(rest))
}
