/**
 * The child of a process executor: loads models and runs rows on them, one request after the other (frames.ts). It waits
 * for requests in a blocking read, which is the quickest hand-off there is: it has nothing else to do.
 */
import { readSync, writeFileSync, writevSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { deserialize } from 'node:v8'
import { Worker } from 'node:worker_threads'
import { describeError } from '../../infra/runtime/errors.ts'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import { type ModelSession, openModelSession } from '../models/model-session.ts'
import { ModelRunError } from './executor.ts'
import {
  type FrameFault,
  type FrameHeader,
  HEADER_BYTES,
  LONGEST_FAILURE_BYTES,
  readHeader,
  writeHeader,
} from './frames.ts'
import type { Provider } from './run-rows.ts'

const STREAM = 3
/**
 * A thread that ends the process when the parent is gone, also while the main thread runs a model: the parent holds the
 * other end of stream 4 and never writes to it.
 */
const LIFELINE = `
  const { Socket } = require('node:net')
  new Socket({ fd: 4 }).resume().on('close', () => process.kill(process.pid, 'SIGKILL'))
`

const sessions = new Map<number, ModelSession>()
const header = Buffer.alloc(HEADER_BYTES)
/** Grows to the largest body; a body is done with before the next is read. */
let body = new ArrayBuffer(64 * 1_024)

/** False at the end of the stream. */
function readFully(into: Uint8Array): boolean {
  for (let at = 0; at < into.length; ) {
    const count = readSync(STREAM, into, at, into.length - at, null)
    if (count === 0) return false
    at += count
  }
  return true
}

function readBody(bytes: number): boolean {
  if (bytes > body.byteLength) body = new ArrayBuffer(2 ** Math.ceil(Math.log2(bytes)))
  return readFully(new Uint8Array(body, 0, bytes))
}

function send(...parts: readonly Uint8Array[]): void {
  let rest = parts.filter((part) => part.length > 0)
  while (rest.length > 0) {
    let written = writevSync(STREAM, rest)
    while (rest[0] !== undefined && written >= rest[0].length) {
      written -= rest[0].length
      rest = rest.slice(1)
    }
    if (rest[0] !== undefined) rest = [rest[0].subarray(written), ...rest.slice(1)]
  }
}

function done({ request, model }: FrameHeader, answer: Float32Array = new Float32Array(), tookMs = 0): void {
  const bytes = new Uint8Array(answer.buffer, answer.byteOffset, answer.byteLength)
  const took = Math.min(Math.round(tookMs * 1_000), 2 ** 32 - 1)
  send(writeHeader({ kind: 'done', request, model, bytes: bytes.length, took }), bytes)
}

function failed({ request, model }: FrameHeader, fault: FrameFault, error: unknown): void {
  const { code, message } = describeError(error)
  const bytes = Buffer.from(`${code}\n${message}`).subarray(0, LONGEST_FAILURE_BYTES)
  send(writeHeader({ kind: 'failed', fault, request, model, bytes: bytes.length }), bytes)
}

async function prepare(frame: FrameHeader): Promise<void> {
  const asked = deserialize(new Uint8Array(body, 0, frame.bytes)) as { manifest: ModelManifest; provider: Provider }
  try {
    sessions.set(frame.model, await openModelSession(asked.manifest, asked.provider))
    done(frame)
    // where NODE_COMPILE_CACHE is set the next child starts sooner; this one may not live to its end
    flushCompileCache()
  } catch (error) {
    failed(frame, 'refused', error)
  }
}

async function run(frame: FrameHeader): Promise<void> {
  const session = sessions.get(frame.model)
  if (session === undefined) return failed(frame, 'refused', new Error('the model is not loaded'))
  try {
    const rows = new Float32Array(body, 0, frame.bytes / Float32Array.BYTES_PER_ELEMENT)
    const startedAt = performance.now()
    const outputs = await session.run(rows)
    done(frame, outputs, performance.now() - startedAt)
  } catch (error) {
    const fault = error instanceof ModelRunError && error.fault === 'allocation' ? 'allocation' : 'rows'
    failed(frame, fault, error)
  }
}

async function retire(frame: FrameHeader): Promise<void> {
  const session = sessions.get(frame.model)
  sessions.delete(frame.model)
  await session?.release()
  done(frame)
}

/** False when it is the last one. */
async function answer(frame: FrameHeader): Promise<boolean> {
  switch (frame.kind) {
    case 'hello':
      done(frame)
      return true
    case 'prepare':
      await prepare(frame)
      return true
    case 'run':
      await run(frame)
      return true
    case 'retire':
      await retire(frame)
      return true
    default:
      return false
  }
}

// an interrupt of the terminal reaches every process of its group: the parent decides when this one ends
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined)
// where memory runs out, this process is the one to go, and not the parent
if (process.platform === 'linux') {
  try {
    writeFileSync('/proc/self/oom_score_adj', '800')
  } catch (error) {
    process.stderr.write(`${describeError(error).message}\n`)
  }
}
new Worker(LIFELINE, { eval: true }).unref()

while (readFully(header)) {
  const frame = readHeader(header)
  if (frame === null || !readBody(frame.bytes) || !(await answer(frame))) break
}
for (const session of sessions.values()) await session.release()
process.exit(0)
