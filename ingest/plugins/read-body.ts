import type { IncomingMessage } from 'node:http'
import type { Transform } from 'node:stream'
import { constants, createGunzip, createInflate, createZstdDecompress } from 'node:zlib'
import { HttpProblem, retryAfter } from '../http/problem.ts'
import { whenClosed } from '../http/when-closed.ts'

export interface BodyRules {
  /** Of the body as it is sent, and of what it is decoded to. */
  readonly maxBodyBytes: number
  /** Decoded bytes for one that was sent, once there are more than `RATIO_FROM_BYTES`. */
  readonly maxRatio: number
  /** A body that brings less in any `slowAfterMs` is cut. */
  readonly leastBytesPerSecond: number
  readonly slowAfterMs: number
}

export interface BodyReading {
  readonly body: Promise<Buffer>
  /** Refused for what its headers say: nothing of it is read. */
  readonly refused: boolean
  /** Nobody waits for it any more: nothing is held and nothing decoded from now on, and `body` rejects if it is not there. */
  readonly stop: () => void
  /** That came over the wire so far. */
  readonly wireBytes: () => number
}

const FIRST_BYTES = 16_384
const FIRST_DECLARED_BYTES = 65_536
const RATIO_FROM_BYTES = 1_048_576
const DECODED_CHUNK_BYTES = 65_536

/**
 * Reads a body into one buffer of its own, decoding as it comes: what is above a limit is cut off there, so that it takes no more
 * memory than twice the limit, however it was sent; one that says beforehand that it is too large is not for here. `hold` is asked before it takes more; false = 503.
 * Rejects with `HttpProblem`: 400 `body_incomplete`, `bad_encoding`; 408 `slow_body`; 413 `body_too_large`, `compression_ratio`;
 * 415 `unsupported_encoding`; 503 `overloaded`.
 */
export function readBody(payload: IncomingMessage, rules: BodyRules, hold: (bytes: number) => boolean): BodyReading {
  const { maxBodyBytes, maxRatio, leastBytesPerSecond, slowAfterMs } = rules
  const declared = Number(payload.headers['content-length'] ?? Number.NaN)
  let decoder: Transform | null
  try {
    decoder = decoderOf(payload.headers['content-encoding'], maxBodyBytes)
  } catch (error) {
    return { body: Promise.reject(error), refused: true, stop: () => {}, wireBytes: () => 0 }
  }

  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  let wire = 0
  let buffer = Buffer.alloc(0)
  let decoded: Buffer[] = []
  let length = 0
  let ended = false
  let wireBefore = 0
  const watch = setInterval(() => {
    if (wire - wireBefore < (leastBytesPerSecond * slowAfterMs) / 1_000 && !payload.complete) {
      end(new HttpProblem(408, 'slow_body', `the body brings less than ${leastBytesPerSecond} bytes a second`))
    }
    wireBefore = wire
  }, slowAfterMs)

  function end(problem: HttpProblem | null): void {
    if (ended) return
    ended = true
    clearInterval(watch)
    payload.off('data', onWire)
    if (problem === null) {
      if (decoder !== null) resolve(Buffer.concat(decoded, length))
      else resolve(buffer.length === length ? buffer : buffer.subarray(0, length))
      return
    }
    if (decoder !== null) {
      payload.unpipe(decoder)
      decoder.destroy()
    }
    buffer = Buffer.alloc(0)
    decoded = []
    // what still comes is thrown away until the answer has closed the connection
    payload.resume()
    reject(problem)
  }

  /** Copied at once: what comes in pieces of one byte takes no more memory than what comes at once. */
  function append(chunk: Buffer): void {
    const needed = length + chunk.length
    if (needed > maxBodyBytes) {
      end(tooLarge(maxBodyBytes))
      return
    }
    if (needed > buffer.length) {
      const first = declared > 0 ? Math.min(declared, FIRST_DECLARED_BYTES) : FIRST_BYTES
      const most = declared > 0 ? declared : maxBodyBytes
      const size = Math.max(needed, Math.min(most, Math.max(first, buffer.length * 2)))
      if (!hold(size - buffer.length)) {
        end(noRoom())
        return
      }
      const grown = Buffer.allocUnsafe(size)
      buffer.copy(grown, 0, 0, length)
      buffer = grown
    }
    chunk.copy(buffer, length)
    length = needed
  }

  function onWire(chunk: Buffer): void {
    wire += chunk.length
    if (decoder === null) append(chunk)
    else if (wire > maxBodyBytes) end(tooLarge(maxBodyBytes))
  }

  /** The decoder's chunks are as large as they can be. */
  function onDecoded(chunk: Buffer): void {
    if (ended) return
    length += chunk.length
    if (length > maxBodyBytes) end(tooLarge(maxBodyBytes))
    else if (length > RATIO_FROM_BYTES && length > wire * maxRatio) {
      end(new HttpProblem(413, 'compression_ratio', `the body decodes to more than ${maxRatio} times what was sent`))
    } else if (!hold(chunk.length)) end(noRoom())
    else decoded.push(chunk)
  }

  payload.on('data', onWire)
  payload.once('error', () => end(incomplete()))
  // also of one that has come as a whole: what was not read yet will not be
  whenClosed(payload, () => {
    if (!payload.readableEnded) end(incomplete())
  })
  if (decoder === null) payload.once('end', () => end(null))
  else {
    decoder.on('data', onDecoded)
    decoder.on('error', () =>
      end(new HttpProblem(400, 'bad_encoding', 'the body is not what its Content-Encoding says')),
    )
    decoder.once('end', () => end(null))
    payload.pipe(decoder)
  }
  return { body: promise, refused: false, stop: () => end(incomplete()), wireBytes: () => wire }
}

function decoderOf(encoding: string | undefined, maxBodyBytes: number): Transform | null {
  const options = { chunkSize: DECODED_CHUNK_BYTES }
  switch (encoding?.trim().toLowerCase()) {
    case undefined:
    case '':
    case 'identity':
      return null
    case 'gzip':
    case 'x-gzip':
      return createGunzip(options)
    case 'deflate':
      return createInflate(options)
    case 'zstd': {
      // a frame says how much memory its reader has to have: never more than the limit (RFC 9659 asks for 8 MiB)
      const window = Math.min(23, Math.max(10, Math.ceil(Math.log2(maxBodyBytes))))
      return createZstdDecompress({ ...options, params: { [constants.ZSTD_d_windowLogMax]: window } })
    }
    default:
      throw new HttpProblem(
        415,
        'unsupported_encoding',
        'Content-Encoding may be gzip, deflate or zstd, and one of them only',
        { headers: { 'accept-encoding': 'gzip, deflate, zstd' } },
      )
  }
}

export function tooLarge(maxBodyBytes: number): HttpProblem {
  return new HttpProblem(413, 'body_too_large', `a body may have ${maxBodyBytes} bytes, decoded too`)
}

function incomplete(): HttpProblem {
  return new HttpProblem(400, 'body_incomplete', 'the body ended before its end')
}

function noRoom(): HttpProblem {
  return new HttpProblem(503, 'overloaded', 'the gateway holds as much as it can; try again', {
    headers: { 'retry-after': retryAfter() },
  })
}
