import { createHash } from 'node:crypto'
import {
  chmodSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { MODEL_STORE } from '../../inference/models/store/config.ts'
import { fetchVersion } from '../../inference/models/store/fetch-version.ts'
import type { ModelStore } from '../../inference/models/store/model-store.ts'
import { openModelStore } from '../../inference/models/store/open-store.ts'
import { readConfig } from '../../infra/runtime/config.ts'
import { startS3Server } from '../support/s3-server.ts'

const MODEL_1 = 'infra/sample/flights/models/1'

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'millrace-store-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
})

const sha256 = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex')

function write(name: string, content: Buffer | string): string {
  const file = path.join(folder, name)
  writeFileSync(file, content)
  return file
}

interface Opened {
  readonly store: ModelStore
  /** File that holds a digest's content. */
  readonly fileOf: (digest: string) => string
}

async function open(env: Readonly<Record<string, string>>): Promise<ModelStore> {
  const store = await openModelStore(readConfig(MODEL_STORE, env))
  onTestFinished(() => store.close())
  return store
}

const KINDS: Readonly<Record<string, () => Promise<Opened>>> = {
  async directory() {
    const place = path.join(folder, 'store')
    const store = await open({ MILLRACE_MODEL_STORE: place })
    return { store, fileOf: (digest) => path.join(place, digest.slice(0, 2), digest) }
  },
  async 's3 bucket'() {
    const server = await startS3Server()
    for (const [name, value] of Object.entries(server.env)) vi.stubEnv(name, value)
    onTestFinished(() => void vi.unstubAllEnvs())
    const store = await open({
      MILLRACE_MODEL_STORE: `s3://${server.bucket}/team/models`,
      MILLRACE_MODEL_STORE_S3_ENDPOINT: server.endpoint,
    })
    return { store, fileOf: (digest) => path.join(server.folder, `team/models/${digest}._S3rver_object`) }
  },
}

describe.each(Object.keys(KINDS))('a store in: %s', (kind) => {
  const opened = () => (KINDS[kind] as () => Promise<Opened>)()

  test('gives back what was put into it, under its digest, to many at once', async () => {
    const { store } = await opened()
    const large = Buffer.alloc(3_000_000, 'weights')
    const file = write('large', large)
    expect(await store.has(sha256(large))).toBe(false)
    expect(await Promise.all([store.put(file), store.put(file), store.put(write('empty', ''))])).toEqual([
      sha256(large),
      sha256(large),
      sha256(''),
    ])
    expect(await store.has(sha256(large))).toBe(true)
    const copies = [1, 2, 3].map((n) => path.join(folder, `copy-${n}`))
    await Promise.all(copies.map((copy) => store.get(sha256(large), copy)))
    for (const copy of copies) expect(sha256(readFileSync(copy))).toBe(sha256(large))
    expect((statSync(copies[0] as string).mode & 0o222) === 0).toBe(true)
  })

  test('says what it does not have, and hands out nothing that is damaged', async () => {
    const { store, fileOf } = await opened()
    const target = path.join(folder, 'target')
    await expect(store.get(sha256('unknown'), target)).rejects.toMatchObject({
      code: 'model_not_stored',
      fate: 'crash',
    })
    const digest = await store.put(write('model', 'a model'))
    chmodSync(fileOf(digest), 0o644)
    writeFileSync(fileOf(digest), 'A model')
    await expect(store.get(digest, target)).rejects.toMatchObject({ code: 'model_store_corrupt', fate: 'crash' })
    expect(existsSync(target)).toBe(false)
  })

  test('a version is fetched once, and again when what was kept is damaged', async () => {
    const { store, fileOf } = await opened()
    await store.put(`${MODEL_1}/model.onnx`)
    const digest = await store.put(`${MODEL_1}/manifest.json`)
    const cache = path.join(folder, 'cache')
    const [one, other] = await Promise.all([fetchVersion(store, cache, digest), fetchVersion(store, cache, digest)])
    expect(one).toEqual(other)
    expect(one).toMatchObject({ name: 'flight-delay', version: '1', folder: path.join(cache, digest) })
    const kept = path.join(cache, digest, 'model.onnx')
    const madeAt = statSync(kept).mtimeMs
    await fetchVersion(store, cache, digest)
    expect(statSync(kept).mtimeMs).toBe(madeAt)
    chmodSync(kept, 0o644)
    writeFileSync(kept, 'damaged')
    await fetchVersion(store, cache, digest)
    expect(sha256(readFileSync(kept))).toBe(one.sha256)
    expect(readdirSync(cache)).toEqual([digest])
    rmSync(fileOf(one.sha256))
    rmSync(path.join(cache, digest), { recursive: true })
    await expect(fetchVersion(store, cache, digest)).rejects.toMatchObject({ code: 'model_not_stored' })
    expect(readdirSync(cache)).toEqual([])
  })
})

test('files beside the model come along', async () => {
  const { store } = await (KINDS['directory'] as () => Promise<Opened>)()
  const version = path.join(folder, 'version')
  cpSync(MODEL_1, version, { recursive: true })
  mkdirSync(path.join(version, 'data'))
  writeFileSync(path.join(version, 'data/weights'), 'numbers')
  const manifest = JSON.parse(readFileSync(path.join(version, 'manifest.json'), 'utf8'))
  const files = [{ path: 'data/weights', sha256: sha256('numbers') }]
  writeFileSync(path.join(version, 'manifest.json'), JSON.stringify({ ...manifest, files }))
  for (const name of ['model.onnx', 'data/weights']) await store.put(path.join(version, name))
  const digest = await store.put(path.join(version, 'manifest.json'))
  const fetched = await fetchVersion(store, path.join(folder, 'cache'), digest)
  expect(globSync('**/*', { cwd: fetched.folder }).sort()).toEqual([
    'data',
    'data/weights',
    'manifest.json',
    'model.onnx',
  ])
})

test('a damaged file in a directory is replaced by the next put', async () => {
  const { store, fileOf } = await (KINDS['directory'] as () => Promise<Opened>)()
  const file = write('model', 'a model')
  const digest = await store.put(file)
  chmodSync(fileOf(digest), 0o644)
  writeFileSync(fileOf(digest), 'A model')
  expect(await store.put(file)).toBe(digest)
  await store.get(digest, path.join(folder, 'target'))
})

test('a cache that cannot be written to is worth another try', async () => {
  const { store } = await (KINDS['directory'] as () => Promise<Opened>)()
  await store.put(`${MODEL_1}/model.onnx`)
  const digest = await store.put(`${MODEL_1}/manifest.json`)
  const occupied = write('occupied', 'a file where a directory must be')
  const unavailable = { code: 'model_store_unavailable', fate: 'retry' }
  await expect(fetchVersion(store, occupied, digest)).rejects.toMatchObject(unavailable)
  await expect(fetchVersion(store, path.join(occupied, 'cache'), digest)).rejects.toMatchObject(unavailable)
})

test('a blob that is no manifest is refused', async () => {
  const { store } = await (KINDS['directory'] as () => Promise<Opened>)()
  const digest = await store.put(write('x', '{}'))
  const fetching = fetchVersion(store, path.join(folder, 'cache'), digest)
  await expect(fetching).rejects.toMatchObject({ code: 'invalid_model', fate: 'crash' })
})

test('a bucket that is away is worth another try, one that refuses is not', async () => {
  const server = await startS3Server()
  for (const [name, value] of Object.entries(server.env)) vi.stubEnv(name, value)
  onTestFinished(() => void vi.unstubAllEnvs())
  const file = write('model', 'a model')
  const away = await open({
    MILLRACE_MODEL_STORE: 's3://models',
    MILLRACE_MODEL_STORE_S3_ENDPOINT: 'http://127.0.0.1:1',
  })
  await expect(away.put(file)).rejects.toMatchObject({ code: 'model_store_unavailable', fate: 'retry' })
  const endpoint = { MILLRACE_MODEL_STORE_S3_ENDPOINT: server.endpoint }
  const unknown = await open({ MILLRACE_MODEL_STORE: 's3://nobody/x', ...endpoint })
  await expect(unknown.put(file)).rejects.toMatchObject({ code: 'model_store_refused', fate: 'crash' })
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'nobody')
  const forged = await open({ MILLRACE_MODEL_STORE: `s3://${server.bucket}`, ...endpoint })
  await expect(forged.put(file)).rejects.toMatchObject({ code: 'model_store_refused', fate: 'crash' })
})

test('the place of the store is a directory or a bucket', () => {
  expect(() => readConfig(MODEL_STORE, { MILLRACE_MODEL_STORE: 'gs://x/y' })).toThrow(/must be a directory or s3:/)
  expect(readConfig(MODEL_STORE, {})).toMatchObject({ modelStore: '.millrace/model-store' })
})
