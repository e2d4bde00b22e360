import { mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

/** One finished statement. `rowsRead` of an insert from a file is what the file held. */
export interface EngineResult {
  bytes: Buffer
  rowsRead: number
  bytesRead: number
}

/** Settings, parameters, temporary tables and the current database live as long as the connection; one statement at a time. */
export interface EngineConnection {
  query(sql: string, format: string): Promise<EngineResult>
  /**
   * Yields the result in chunks as the engine produces it, and can be left at any point. Parsing and planning (and with
   * them scalar subqueries) happen in the calling thread, so only statements that plan quickly belong here.
   */
  stream(sql: string, format: string): AsyncGenerator<Buffer, void>
  close(): void
}

export interface Engine {
  version: string
  timezone: string
  /** About 0.15 ms; every connection shares the one engine of this process. */
  connect(): EngineConnection
  /** For the endpoint's own statements; may be used while other connections are busy. */
  root: EngineConnection
  close(): void
}

interface EngineOptions {
  /** Locked by the engine: a second process on the same directory is refused. */
  dataDir: string
  maxMemoryBytes: number
  markCacheBytes: number
}

interface Chunk {
  bytes: Uint8Array
  done: boolean
}

// The addon itself, not chdb's Session: the asynchronous calls below are not public API, so the version is pinned exactly.
// What a call returns as a connection or stream is an opaque native handle.
interface Addon {
  CreateConnection(path: string, args: string[]): unknown
  CloseConnection(connection: unknown): void
  QueryAsyncConnection(connection: unknown, sql: string, format: string): Promise<EngineResult>
  StreamQuery(connection: unknown, sql: string, format: string): unknown
  StreamFetch(stream: unknown): Promise<Chunk>
  StreamCancel(stream: unknown): void
}

function loadAddon(): Addon {
  const require = createRequire(import.meta.url)
  const loader: { loadNative(): Addon } = require(join(dirname(require.resolve('chdb/package.json')), 'dist/loader.js'))
  return loader.loadNative()
}

const view = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

function connection(addon: Addon, handle: unknown): EngineConnection {
  return {
    query: async (sql, format) => {
      const result = await addon.QueryAsyncConnection(handle, sql, format)
      return { bytes: view(result.bytes), rowsRead: result.rowsRead, bytesRead: result.bytesRead }
    },
    async *stream(sql, format) {
      const stream = addon.StreamQuery(handle, sql, format)
      try {
        for (let chunk = await addon.StreamFetch(stream); !chunk.done; chunk = await addon.StreamFetch(stream)) {
          yield view(chunk.bytes)
        }
      } finally {
        // never while a fetch is running: it would block this thread until that returns
        addon.StreamCancel(stream)
      }
    },
    close: () => addon.CloseConnection(handle),
  }
}

function openFolder(addon: Addon, dataDir: string, args: string[]): unknown {
  try {
    return addon.CreateConnection(dataDir, args)
  } catch (error) {
    // the addon does not tell why
    throw new Error(`cannot open ${dataDir}: another process uses it, or it cannot be written`, { cause: error })
  }
}

export async function openEngine(options: EngineOptions): Promise<Engine> {
  const addon = loadAddon()
  mkdirSync(options.dataDir, { recursive: true })
  // server settings count for the first connection of a process; the defaults would take 5 GB for marks and all of the memory
  const root = connection(
    addon,
    openFolder(addon, options.dataDir, [
      `--max_server_memory_usage=${options.maxMemoryBytes}`,
      `--mark_cache_size=${options.markCacheBytes}`,
    ]),
  )
  const about = await root.query('SELECT version(), timezone()', 'TabSeparated')
  const [version = '', timezone = ''] = about.bytes.toString().trim().split('\t')
  return {
    version,
    timezone,
    root,
    connect: () => connection(addon, addon.CreateConnection(options.dataDir, [])),
    close: () => root.close(),
  }
}
