import { createReadStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import {
  GetObjectCommand,
  HeadObjectCommand,
  type HeadObjectCommandOutput,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { describeError, fatal, MillraceError, retryable } from '../../../infra/runtime/errors.ts'
import { digestOfFile, type FileDigest } from '../../../schemas/file-digest.ts'
import type { ModelStore } from './model-store.ts'
import { writeDigested } from './written-file.ts'

export interface S3Place {
  readonly bucket: string
  /** Before every key; empty, or ending in a slash. */
  readonly prefix: string
  /** Of another service than Amazon's; undefined = by AWS_REGION. */
  readonly endpoint: string | undefined
}

/** Services other than Amazon's ask for a region and read nothing from it. */
const ANY_REGION = 'us-east-1'

interface S3Limits {
  /** Until a connection stands. */
  readonly connectMs: number
  /** Without a byte either way. */
  readonly silenceMs: number
  /** Until a request without content is answered. */
  readonly answerMs: number
}

const LIMITS: S3Limits = { connectMs: 5_000, silenceMs: 20_000, answerMs: 30_000 }
/** What is sent may take as long as this needs, bytes a millisecond: one that is slower, yet never silent, is given up. */
const SLOWEST_UPLOAD = 256
/** Statuses that no second try mends, unless the code says so. */
const REFUSED = new Set([301, 400, 401, 403, 404, 405])
/** Codes that come with such a status and pass: credentials are renewed, a rush is over, a clock is set. */
const PASSING = new Set([
  'ExpiredToken',
  'ExpiredTokenException',
  'TokenRefreshRequired',
  'RequestTimeout',
  'RequestTimeoutException',
  'RequestTimeTooSkewed',
  'SlowDown',
  'Throttling',
  'ThrottlingException',
  'TooManyRequestsException',
])
/** A HEAD has no content to say why: a right to list may be missing where the right to write is there. */
const UNSAID = new Set([400, 403])
const nothing = (): void => undefined
/** What the client would say by itself is in the errors that it rejects with. */
const SILENT = { trace: nothing, debug: nothing, info: nothing, warn: nothing, error: nothing }

/**
 * A bucket that speaks S3: objects `<prefix><digest>`, each at most 5 GB. Credentials and region come from the AWS_*
 * variables, profiles or the machine's role, as every AWS tool finds them.
 */
export function createS3Store({ bucket, prefix, endpoint }: S3Place, limits: S3Limits = LIMITS): ModelStore {
  const client = new S3Client({
    logger: SILENT,
    // what a digest names is verified here, and older servers refuse trailing checksums
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: {
      connectionTimeout: limits.connectMs,
      socketTimeout: limits.silenceMs,
      requestTimeout: limits.answerMs,
      // it would only be logged
      throwOnRequestTimeout: true,
    },
    ...(endpoint === undefined
      ? {}
      : { endpoint, forcePathStyle: true, region: process.env['AWS_REGION'] ?? ANY_REGION }),
  })
  const place = `s3://${bucket}/${prefix}`
  const objectOf = (digest: string) => ({ Bucket: bucket, Key: `${prefix}${digest}` })

  /** Null when there is none. */
  async function headOf(digest: string): Promise<HeadObjectCommandOutput | null> {
    try {
      return await client.send(new HeadObjectCommand({ ...objectOf(digest), ChecksumMode: 'ENABLED' }))
    } catch (error) {
      if (describeError(error).code === 'NotFound') return null
      throw error
    }
  }

  /** Whether the bucket says that it has these bytes: somebody may have put others under that key. */
  async function isThere({ sha256, size }: FileDigest, checksum: string): Promise<boolean> {
    try {
      const head = await headOf(sha256)
      if (head === null || head.ContentLength !== size) return false
      if (head.ChecksumSHA256 !== undefined) return head.ChecksumSHA256 === checksum
      return head.Metadata?.['sha256'] === sha256
    } catch (error) {
      // the answer to the PUT says more
      if (UNSAID.has(statusOf(error) ?? 0)) return false
      throw error
    }
  }

  async function put(file: string, digest: FileDigest): Promise<string> {
    const { sha256, size } = digest
    const checksum = Buffer.from(sha256, 'hex').toString('base64')
    if (await isThere(digest, checksum)) return sha256
    const content = { Body: createReadStream(file), ContentLength: size, ChecksumSHA256: checksum }
    const command = new PutObjectCommand({ ...objectOf(sha256), ...content, Metadata: { sha256 } })
    try {
      await client.send(command, { requestTimeout: limits.answerMs + Math.ceil(size / SLOWEST_UPLOAD) })
    } finally {
      content.Body.destroy()
    }
    return sha256
  }

  async function get(digest: string, file: string): Promise<void> {
    const { Body } = await client.send(new GetObjectCommand(objectOf(digest)))
    if (Body === undefined) throw fatal('model_not_stored', `${place}${digest} has no content`)
    const { sha256 } = await writeDigested(Body as AsyncIterable<Uint8Array>, file)
    if (sha256 === digest) return
    await rm(file, { force: true })
    throw fatal('model_store_corrupt', `${place}${digest} is damaged: its sha256 is ${sha256}`)
  }

  async function answered<T>(digest: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      throw storeError(`${place}${digest}`, error)
    }
  }

  return {
    place,
    has: (digest) => answered(digest, async () => (await headOf(digest)) !== null),
    async put(file) {
      const digest = await digestOfFile(file)
      return await answered(digest.sha256, () => put(file, digest))
    },
    get: (digest, file) => answered(digest, () => get(digest, file)),
    close: async () => client.destroy(),
  }
}

function storeError(object: string, error: unknown): MillraceError {
  if (error instanceof MillraceError) return error
  const { code, message } = describeError(error)
  const status = statusOf(error)
  const text = `model store ${object}: ${message} (${code}${status === undefined ? '' : `, HTTP ${status}`})`
  if (code === 'NoSuchKey') return fatal('model_not_stored', text, error)
  const isRefused = status !== undefined && REFUSED.has(status) && !PASSING.has(code)
  return isRefused ? fatal('model_store_refused', text, error) : retryable('model_store_unavailable', text, error)
}

/** HTTP status of what the service answered; undefined when it did not. */
function statusOf(error: unknown): number | undefined {
  return error instanceof Error && '$metadata' in error ? httpStatus(error.$metadata) : undefined
}

function httpStatus(metadata: unknown): number | undefined {
  const known = typeof metadata === 'object' && metadata !== null && 'httpStatusCode' in metadata
  return known && typeof metadata.httpStatusCode === 'number' ? metadata.httpStatusCode : undefined
}
