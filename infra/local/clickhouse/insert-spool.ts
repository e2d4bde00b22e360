import { createHash, randomUUID } from 'node:crypto'
import { createWriteStream, existsSync, mkdirSync, rmSync, statfsSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { EndpointError } from './errors.ts'

export interface SpooledData {
  file: string
  bytes: number
  remove(): Promise<void>
}

/** Files for the data of inserts, each removed by who asked for it. */
export interface InsertSpool {
  /** Resolves when the whole body has arrived; rejects, leaving no file, when it breaks off or is too large. */
  receive(request: IncomingMessage): Promise<SpooledData>
  /** A body that is a statement, in memory; same limits. */
  read(request: IncomingMessage): Promise<Buffer>
  write(bytes: Uint8Array): Promise<SpooledData>
  close(): void
}

const ROOMY_BYTES = 2 * 2 ** 30

// memory where there is enough of it (a container's /dev/shm has 64 MB), else beside the data
function spoolFolder(dataDir: string): string {
  const name = `millrace-clickhouse-${createHash('sha256').update(dataDir).digest('hex').slice(0, 16)}`
  const shm = '/dev/shm'
  if (!existsSync(shm)) return join(dataDir, 'spool')
  const { bavail, bsize } = statfsSync(shm)
  return bavail * bsize >= ROOMY_BYTES ? join(shm, name) : join(dataDir, 'spool')
}

/** @param dataDir an open engine's, so that no other process uses the same folder and leftovers in it belong to a dead one. */
export function openSpool(dataDir: string, maxBytes: number): InsertSpool {
  const folder = spoolFolder(dataDir)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true, mode: 0o700 })

  // the request stays open when the limit ends the loop, so that it can be answered
  async function* limited(request: IncomingMessage): AsyncGenerator<Buffer> {
    let bytes = 0
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      bytes += chunk.length
      if (bytes > maxBytes)
        throw new EndpointError(307, 'TOO_MANY_BYTES', `Request body is larger than ${maxBytes} bytes`)
      yield chunk
    }
  }

  return {
    receive: async (request) => {
      const file = join(folder, randomUUID())
      const stream = createWriteStream(file)
      try {
        await pipeline(limited(request), stream)
      } catch (error) {
        await rm(file, { force: true })
        throw error
      }
      return { file, bytes: stream.bytesWritten, remove: () => rm(file, { force: true }) }
    },
    read: async (request) => {
      const chunks: Buffer[] = []
      for await (const chunk of limited(request)) chunks.push(chunk)
      return Buffer.concat(chunks)
    },
    write: async (bytes) => {
      const file = join(folder, randomUUID())
      await writeFile(file, bytes)
      return { file, bytes: bytes.length, remove: () => rm(file, { force: true }) }
    },
    close: () => rmSync(folder, { recursive: true, force: true }),
  }
}
