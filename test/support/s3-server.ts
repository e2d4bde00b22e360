import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { onTestFinished } from 'vitest'
import { freePorts } from '../../infra/local/ports.ts'
import { eventually } from './eventually.ts'
import { spawnNode } from './spawn-process.ts'

const require = createRequire(import.meta.url)
const START_DEADLINE_MS = 60_000

export interface S3Server {
  readonly endpoint: string
  readonly bucket: string
  /** Folder in which an object's content is a file, `<folder>/<key>._S3rver_object`. */
  readonly folder: string
  /** The credentials that it knows, as AWS_* variables. */
  readonly env: Readonly<Record<string, string>>
}

/** A server that speaks S3 over HTTP, with one empty bucket; gone after the test. It knows one key, and does not check signatures. */
export async function startS3Server(): Promise<S3Server> {
  const directory = mkdtempSync(path.join(tmpdir(), 'millrace-s3-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  const [port = 0] = await freePorts(1)
  const bucket = 'models'
  const program = path.join(path.dirname(require.resolve('s3rver/package.json')), 'bin/s3rver.js')
  const place = ['--directory', directory, '--address', '127.0.0.1', '--port', String(port)]
  const server = spawnNode([program, ...place, '--configure-bucket', bucket])
  onTestFinished(async () => {
    server.kill('SIGKILL')
    await server.exited
  })
  const endpoint = `http://127.0.0.1:${port}`
  await eventually(() => fetch(endpoint), { deadlineMs: START_DEADLINE_MS })
  const env = { AWS_ACCESS_KEY_ID: 'S3RVER', AWS_SECRET_ACCESS_KEY: 'S3RVER', AWS_REGION: 'eu-central-1' }
  return { endpoint, bucket, folder: path.join(directory, bucket), env }
}
