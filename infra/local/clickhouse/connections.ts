import type { Engine, EngineConnection } from './engine.ts'
import { EndpointError } from './errors.ts'
import type { StatementRequest } from './request.ts'
import { identifier, literal } from './sql-text.ts'

export interface Connections {
  /**
   * Runs `work` on a connection with the request's settings, once a slot is free: a connection of its own, so that nothing
   * leaks into later requests, or that of the named session, whose requests follow one another.
   */
  use(request: StatementRequest, work: (connection: EngineConnection) => Promise<void>): Promise<void>
  /** Resolves when no request is on a connection any more; sessions are gone then. */
  drain(): Promise<void>
}

interface Session {
  connection: EngineConnection
  /** Resolves when the last request that was let in has ended. */
  tail: Promise<void>
  requests: number
  expiry: NodeJS.Timeout | undefined
}

/** A counting semaphore, first come first served. */
function createSlots(count: number): { take(): Promise<void>; give(): void } {
  let free = count
  const waiting: (() => void)[] = []
  return {
    take: async () => {
      if (free > 0) free -= 1
      else await new Promise<void>((resolve) => waiting.push(resolve))
    },
    give: () => {
      const next = waiting.shift()
      if (next) next()
      else free += 1
    },
  }
}

async function prepare(connection: EngineConnection, request: StatementRequest): Promise<void> {
  if (request.database) await connection.query(`USE ${identifier(request.database)}`, 'Null')
  const settings = [...request.settings].map(([name, value]) => `${name} = ${literal(value)}`)
  // last, because the settings before it could not be set after it; a session would keep it for ever and checks the statement
  if (request.readonly && request.sessionId === undefined) settings.push(`readonly = ${request.readonly}`)
  await connection.query(`SET ${settings.join(', ')}`, 'Null')
}

async function reset(connection: EngineConnection, request: StatementRequest): Promise<void> {
  const names = [...request.settings.keys()].filter((name) => !name.startsWith('param_'))
  await connection.query(`SET ${names.map((name) => `${name} = DEFAULT`).join(', ')}`, 'Null')
}

export function createConnections(engine: Engine, slotCount: number): Connections {
  const slots = createSlots(slotCount)
  const sessions = new Map<string, Session>()
  const running = new Set<Promise<void>>()

  const openSession = (id: string, mustExist: boolean): Session => {
    const found = sessions.get(id)
    if (found) return found
    if (mustExist) throw new EndpointError(372, 'SESSION_NOT_FOUND', 'Session not found')
    const session = { connection: engine.connect(), tail: Promise.resolve(), requests: 0, expiry: undefined }
    sessions.set(id, session)
    return session
  }

  const inSlot = async (work: () => Promise<void>): Promise<void> => {
    await slots.take()
    try {
      await work()
    } finally {
      slots.give()
    }
  }

  const alone = (request: StatementRequest, work: (connection: EngineConnection) => Promise<void>): Promise<void> =>
    inSlot(async () => {
      const connection = engine.connect()
      try {
        await prepare(connection, request)
        await work(connection)
      } finally {
        connection.close()
      }
    })

  const inSession = async (
    id: string,
    request: StatementRequest,
    work: (connection: EngineConnection) => Promise<void>,
  ): Promise<void> => {
    if (request.readonly && request.kind !== 'select' && request.kind !== 'show') {
      throw new EndpointError(164, 'READONLY', 'default: Cannot execute query in readonly mode.')
    }
    const session = openSession(id, request.sessionMustExist)
    clearTimeout(session.expiry)
    session.requests += 1
    const before = session.tail
    const turn = Promise.withResolvers<void>()
    session.tail = turn.promise
    await before
    try {
      await inSlot(async () => {
        try {
          await prepare(session.connection, request)
          await work(session.connection)
        } finally {
          await reset(session.connection, request)
        }
      })
    } finally {
      turn.resolve()
      session.requests -= 1
      if (session.requests === 0) {
        session.expiry = setTimeout(() => {
          sessions.delete(id)
          session.connection.close()
        }, request.sessionTimeoutMs).unref()
      }
    }
  }

  return {
    use: (request, work) => {
      const use = request.sessionId ? inSession(request.sessionId, request, work) : alone(request, work)
      const settled = use.then(
        () => undefined,
        () => undefined,
      )
      running.add(settled)
      void settled.then(() => running.delete(settled))
      return use
    },
    drain: async () => {
      await Promise.all(running)
      for (const session of sessions.values()) {
        clearTimeout(session.expiry)
        session.connection.close()
      }
      sessions.clear()
    },
  }
}
