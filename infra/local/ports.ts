import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

const LOOPBACK = '127.0.0.1'
/** Below what is given to outgoing connections (32,768 on Linux), each of which could take a port whose owner is not there for a moment. */
const FREE = { from: 20_000, to: 32_000 }

/** A port of this machine's loopback address, and the variable that moves it elsewhere. */
interface NamedPort {
  port: number
  owner: string
  variable: string
}

async function listen(port: number): Promise<{ port: number; close(): Promise<void> }> {
  const server = createServer().listen(port, LOOPBACK)
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('a TCP server has no port')
  return {
    port: address.port,
    close: async () => {
      server.close()
      await once(server, 'close')
    },
  }
}

/** Rejects when a port is taken, naming each and the variable that moves it. */
export async function requireFreePorts(ports: readonly NamedPort[]): Promise<void> {
  const taken: string[] = []
  for (const { port, owner, variable } of ports) {
    try {
      await (await listen(port)).close()
    } catch (error) {
      const why = codeOf(error) === 'EACCES' ? 'may not be opened by this user' : 'is taken'
      taken.push(`Port ${port} (${owner}) ${why}: set ${variable} to another one.`)
    }
  }
  if (taken.length > 0) throw new Error(taken.join('\n'))
}

function codeOf(error: unknown): 'EADDRINUSE' | 'EACCES' {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code !== 'EADDRINUSE' && code !== 'EACCES') throw error
  return code
}

/** Ports nobody listens on at the moment, all different. */
export async function freePorts(count: number): Promise<number[]> {
  const open: Awaited<ReturnType<typeof listen>>[] = []
  while (open.length < count) {
    try {
      open.push(await listen(randomInt(FREE.from, FREE.to)))
    } catch (error) {
      codeOf(error)
    }
  }
  await Promise.all(open.map(({ close }) => close()))
  return open.map(({ port }) => port)
}
