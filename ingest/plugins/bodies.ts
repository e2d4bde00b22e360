import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyRequest } from 'fastify'
import { HttpProblem } from '../http/problem.ts'
import type { Gateway } from '../http/request.ts'
import { parseSmallJson } from '../http/small-json.ts'
import { whenClosed } from '../http/when-closed.ts'
import type { HeldBytes } from './held-bytes.ts'
import { type BodyRules, readBody, tooLarge } from './read-body.ts'

export interface BodySettings extends Partial<Omit<BodyRules, 'maxBodyBytes'>> {
  /** Largest body, as it is sent and decoded. */
  readonly maxBodyBytes: number
  readonly held: HeldBytes
  readonly maxHeaders?: number
  readonly maxUrlBytes?: number
  /** Longer than load balancers keep a connection, so that they and not the gateway close it. */
  readonly keepAliveTimeoutMs?: number
  /** A connection on which nothing was read or written for so long is closed, a reader that does not read too. */
  readonly idleTimeoutMs?: number
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Of its body, in memory. */
    heldBytes: number
  }
}

/** Decoded, a body comes to its route as one `Buffer`; to a route with a schema of its body as what its JSON says. */
const BODY_TYPES = [
  'application/json',
  'application/x-ndjson',
  /** An object container file. */
  'application/avro',
  /** One event, Avro single-object encoding. */
  'application/vnd.millrace.avro',
  /** JSON and the tensors that follow it (Open Inference Protocol). */
  'application/octet-stream',
]

const SLOW_AFTER_MS = 2_000
const LEAST_BYTES_PER_SECOND = 512
const MAX_RATIO = 250
const MAX_HEADERS = 64
const MAX_URL_BYTES = 4_096
const KEEP_ALIVE_MS = 72_000
const IDLE_MS = 120_000
const SMALL_JSON_DEPTH = 16
const SMALL_JSON_KEYS = 1_000

/**
 * Reads bodies as bytes and refuses what is too large, too slow, of another kind (415) or not what it says; bounds URLs (414) and
 * headers (431). Belongs before the hooks that ask who it is, so that what is refused costs little.
 */
export function bodyLimits(settings: BodySettings): (app: Gateway) => void {
  const { held, maxHeaders = MAX_HEADERS, maxUrlBytes = MAX_URL_BYTES } = settings
  const rules: BodyRules = {
    maxBodyBytes: settings.maxBodyBytes,
    maxRatio: settings.maxRatio ?? MAX_RATIO,
    leastBytesPerSecond: settings.leastBytesPerSecond ?? LEAST_BYTES_PER_SECOND,
    slowAfterMs: settings.slowAfterMs ?? SLOW_AFTER_MS,
  }
  return (app) => {
    const { server } = app
    server.keepAliveTimeout = settings.keepAliveTimeoutMs ?? KEEP_ALIVE_MS
    server.setTimeout(settings.idleTimeoutMs ?? IDLE_MS)
    // Node drops what is above without a word: one more is let in, and refused
    server.maxHeadersCount = maxHeaders + 1
    // Node would ask for the body at once; who is turned away by then has not sent it
    const awaiting = new WeakSet<IncomingMessage>()
    const responses = new WeakMap<IncomingMessage, ServerResponse>()
    server.on('checkContinue', (message, response) => {
      awaiting.add(message)
      server.emit('request', message, response)
    })

    app.decorateRequest('heldBytes', 0)
    app.addHook('onRequest', async (request, reply) => {
      const { url = '', rawHeaders, headers } = request.raw
      if (url.length > maxUrlBytes) {
        throw new HttpProblem(414, 'url_too_long', `a URL may have ${maxUrlBytes} bytes`)
      }
      if (rawHeaders.length > 2 * maxHeaders) {
        throw new HttpProblem(431, 'too_many_headers', `a request may have ${maxHeaders} headers`)
      }
      // before anybody pays for it; of a request, too, whose body nobody would read
      if (Number(headers['content-length'] ?? 0) > rules.maxBodyBytes) throw tooLarge(rules.maxBodyBytes)
      responses.set(request.raw, reply.raw)
      whenClosed(reply.raw, () => held.give(request.heldBytes))
    })

    app.removeAllContentTypeParsers()
    app.addContentTypeParser(BODY_TYPES, async (request: FastifyRequest, payload: IncomingMessage) => {
      // it is not for anybody
      if (request.is404) return null
      const reading = readBody(payload, rules, (bytes) => {
        const hasRoom = held.take(bytes)
        if (hasRoom) request.heldBytes += bytes
        return hasRoom
      })
      const response = responses.get(request.raw)
      if (response !== undefined) {
        // what it holds was given back, or is now: it must take no more
        whenClosed(response, reading.stop)
        if (!reading.refused && awaiting.has(request.raw)) response.writeContinue()
      }
      const body = await reading.body.finally(() => {
        request.receivedBytes = reading.wireBytes()
      })
      const hasSchema = request.routeOptions.schema?.body !== undefined
      return hasSchema ? parseSmallJson(body, SMALL_JSON_DEPTH, SMALL_JSON_KEYS) : body
    })
  }
}
