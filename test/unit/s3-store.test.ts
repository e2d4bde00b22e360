import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { beforeEach, expect, onTestFinished, test, vi } from 'vitest'
import type { ModelStore } from '../../inference/models/store/model-store.ts'
import { createS3Store } from '../../inference/models/store/s3-store.ts'
import { startS3Server } from '../support/s3-server.ts'

// What a bucket answers that is slow, forbids, or has other content under a digest.

/** For who never answers; whoever does has all the time that a busy machine takes. */
const SHORT = { connectMs: 300, silenceMs: 300, answerMs: 300 }
const LONG = { connectMs: 60_000, silenceMs: 60_000, answerMs: 60_000 }
const KEYS = { AWS_ACCESS_KEY_ID: 'S3RVER', AWS_SECRET_ACCESS_KEY: 'S3RVER', AWS_REGION: 'eu-central-1' }
const DIGEST = 'ab'.repeat(32)

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'millrace-s3-store-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  for (const [name, value] of Object.entries(KEYS)) vi.stubEnv(name, value)
  onTestFinished(() => void vi.unstubAllEnvs())
})

function write(content: Buffer | string): { readonly file: string; readonly digest: string } {
  const file = path.join(folder, 'file')
  writeFileSync(file, content)
  return { file, digest: createHash('sha256').update(content).digest('hex') }
}

function storeAt(endpoint: string, bucket = 'models', times = LONG): ModelStore {
  const store = createS3Store({ bucket, prefix: 'team/', endpoint }, times)
  onTestFinished(() => store.close())
  return store
}

async function bucketThat(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  times = LONG,
): Promise<ModelStore> {
  const server = createServer(answer)
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return storeAt(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, 'models', times)
}

function refusal(status: number, code: string) {
  return (_request: IncomingMessage, response: ServerResponse): void => {
    response.writeHead(status, { 'content-type': 'application/xml', connection: 'close' })
    response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>no</Message></Error>`)
  }
}

test('one that never answers is given up', async () => {
  const silent = await bucketThat(() => undefined, SHORT)
  const unavailable = { code: 'model_store_unavailable', fate: 'retry' }
  const { file } = write(Buffer.alloc(8_000_000, 1))
  const target = path.join(folder, 'target')
  await expect(silent.has(DIGEST)).rejects.toMatchObject(unavailable)
  await expect(silent.get(DIGEST, target)).rejects.toMatchObject(unavailable)
  await expect(silent.put(file)).rejects.toMatchObject(unavailable)
  const half = await bucketThat((request, response) => {
    if (request.method === 'HEAD') return void response.writeHead(404).end()
    // neither what is sent is read nor what was begun goes on
    if (request.method === 'GET') response.writeHead(200, { 'content-length': '100' }).write('begun')
  }, SHORT)
  await expect(half.get(DIGEST, target)).rejects.toMatchObject(unavailable)
  await expect(half.put(file)).rejects.toMatchObject(unavailable)
})

test.each([
  [403, 'AccessDenied', 'model_store_refused', 'crash'],
  [404, 'NoSuchBucket', 'model_store_refused', 'crash'],
  [404, 'NoSuchKey', 'model_not_stored', 'crash'],
  [400, 'ExpiredToken', 'model_store_unavailable', 'retry'],
  [400, 'RequestTimeout', 'model_store_unavailable', 'retry'],
  [403, 'RequestTimeTooSkewed', 'model_store_unavailable', 'retry'],
  [503, 'SlowDown', 'model_store_unavailable', 'retry'],
  [429, 'TooManyRequests', 'model_store_unavailable', 'retry'],
  [500, 'InternalError', 'model_store_unavailable', 'retry'],
] as const)('%i %s: %s (%s), with bucket, key and code', async (status, answer, code, fate) => {
  const store = await bucketThat(refusal(status, answer))
  const error = await store.get(DIGEST, path.join(folder, 'target')).catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ code, fate })
  expect(String(error)).toContain(`s3://models/team/${DIGEST}`)
  expect(String(error)).toContain(answer)
})

test('who may write and not look, writes', async () => {
  const { file, digest } = write('a model')
  const written: string[] = []
  const store = await bucketThat((request, response) => {
    if (request.method !== 'PUT') return refusal(403, 'AccessDenied')(request, response)
    request.on('data', (data: Buffer) => written.push(data.toString()))
    request.on('end', () => response.writeHead(200).end())
  })
  expect(await store.put(file)).toBe(digest)
  expect(written.join('')).toBe('a model')
})

test('an object of the same size with other content is replaced, the same is not written again', async () => {
  const server = await startS3Server()
  const store = storeAt(server.endpoint, server.bucket)
  const { file, digest } = write('a model')
  const object = `${server.endpoint}/${server.bucket}/team/${digest}`
  expect((await fetch(object, { method: 'PUT', body: 'A model' })).status).toBe(200)
  expect(await store.put(file)).toBe(digest)
  await store.get(digest, path.join(folder, 'target'))
  const writtenAt = () => statSync(path.join(server.folder, `team/${digest}._S3rver_object`)).mtimeMs
  const before = writtenAt()
  await store.put(file)
  expect(writtenAt()).toBe(before)
})
