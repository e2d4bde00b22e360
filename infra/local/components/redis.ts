import { accessSync, constants, mkdirSync } from 'node:fs'
import { connect } from 'node:net'
import path from 'node:path'
import { requireComponent } from '../settings.ts'
import { type Component, LOOPBACK } from './component.ts'

const PROBE_TIMEOUT_MS = 2_000

/** The installed redis-server, else the one that the set-up fetched. */
export const redis: Component = {
  name: 'redis',
  ports: ['redis'],
  address: ({ ports }) => `redis://${LOOPBACK}:${ports.redis}`,

  async prepare({ dataDir, ports }) {
    const folder = path.join(dataDir, 'redis')
    mkdirSync(folder, { recursive: true })
    const args = [
      '--bind',
      LOOPBACK,
      '--port',
      String(ports.redis),
      '--dir',
      folder,
      '--appendonly',
      'yes',
      '--save',
      '',
    ]
    return { command: installed() ?? path.join(requireComponent('redis'), 'redis-server'), args }
  },

  probe: ({ ports }) =>
    new Promise((resolve, reject) => {
      const socket = connect({ host: LOOPBACK, port: ports.redis })
      const end = (problem: string | null): void => {
        socket.destroy()
        if (problem === null) resolve()
        else reject(new Error(problem))
      }
      socket.setTimeout(PROBE_TIMEOUT_MS, () => end('no answer to PING'))
      socket.once('error', (error) => end(error.message))
      socket.once('connect', () => socket.write('PING\r\n'))
      // while it loads its data it answers -LOADING
      socket.once('data', (bytes) => end(bytes.toString() === '+PONG\r\n' ? null : bytes.toString().trim()))
    }),
}

function installed(): string | null {
  for (const folder of (process.env['PATH'] ?? '').split(path.delimiter)) {
    const file = path.join(folder, 'redis-server')
    try {
      accessSync(file, constants.X_OK)
      return file
    } catch {
      // not in this folder
    }
  }
  return null
}
