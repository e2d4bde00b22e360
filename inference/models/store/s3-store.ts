import { createReadStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { GetObjectCommand, HeadObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { describeError, fatal, MillraceError, retryable } from '../../../infra/runtime/errors.ts'
import { digestOfFile, writeDigested } from './hashed-file.ts'
import type { ModelStore } from './model-store.ts'

export interface S3Place {
  readonly bucket: string
  /** Before every key; empty, or ending in a slash. */
  readonly prefix: string
  /** Of another service than Amazon's; undefined = by AWS_REGION. */
  readonly endpoint: string | undefined
}

/** Services other than Amazon's ask for a region and read nothing from it. */
const ANY_REGION = 'us-east-1'
const CONNECT_TIMEOUT_MS = 5_000
const REQUEST_TIMEOUT_MS = 60_000
/** Errors that no second try mends. */
const REFUSED = new Set([400, 401, 403, 404])
const nothing = (): void => undefined
/** What the client would say by itself is in the errors that it rejects with. */
const SILENT = { trace: nothing, debug: nothing, info: nothing, warn: nothing, error: nothing }

/**
 * A bucket that speaks S3: objects `<prefix><digest>`, each at most 5 GB. Credentials and region come from the AWS_*
 * variables, profiles or the machine's role, as every AWS tool finds them.
 */
export function createS3Store({ bucket, prefix, endpoint }: S3Place): ModelStore {
  const client = new S3Client({
    logger: SILENT,
    // what a digest names is verified here, and older servers refuse trailing checksums
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: { connectionTimeout: CONNECT_TIMEOUT_MS, requestTimeout: REQUEST_TIMEOUT_MS },
    ...(endpoint === undefined
      ? {}
      : { endpoint, forcePathStyle: true, region: process.env['AWS_REGION'] ?? ANY_REGION }),
  })
  const place = `s3://${bucket}/${prefix}`
  const objectOf = (digest: string) => ({ Bucket: bucket, Key: `${prefix}${digest}` })

  /** Null when there is none. */
  async function sizeOf(digest: string): Promise<number | null> {
    try {
      return (await client.send(new HeadObjectCommand(objectOf(digest)))).ContentLength ?? 0
    } catch (error) {
      if (describeError(error).code === 'NotFound') return null
      throw error
    }
  }

  async function put(file: string): Promise<string> {
    const { sha256, size } = await digestOfFile(file)
    if ((await sizeOf(sha256)) === size) return sha256
    const checksum = Buffer.from(sha256, 'hex').toString('base64')
    const body = { Body: createReadStream(file), ContentLength: size, ChecksumSHA256: checksum }
    await client.send(new PutObjectCommand({ ...objectOf(sha256), ...body }))
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

  async function answered<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      throw storeError(place, error)
    }
  }

  return {
    place,
    has: (digest) => answered(async () => (await sizeOf(digest)) !== null),
    put: (file) => answered(() => put(file)),
    get: (digest, file) => answered(() => get(digest, file)),
    close: async () => client.destroy(),
  }
}

function storeError(place: string, error: unknown): MillraceError {
  if (error instanceof MillraceError) return error
  const { code, message } = describeError(error)
  const text = `model store ${place}: ${message} (${code})`
  if (code === 'NoSuchKey') return fatal('model_not_stored', text, error)
  const status = error instanceof Error && '$metadata' in error ? httpStatus(error.$metadata) : undefined
  if (status !== undefined && REFUSED.has(status)) return fatal('model_store_refused', text, error)
  return retryable('model_store_unavailable', text, error)
}

function httpStatus(metadata: unknown): number | undefined {
  const known = typeof metadata === 'object' && metadata !== null && 'httpStatusCode' in metadata
  return known && typeof metadata.httpStatusCode === 'number' ? metadata.httpStatusCode : undefined
}
