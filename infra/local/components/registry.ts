import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { requireComponent } from '../settings.ts'
import { type Component, LOOPBACK } from './component.ts'

const RUNNER = 'apicurio-registry-app-2.6.13.Final-runner.jar'
// it is asked little: a second less to start is worth more than the optimising compiler
const QUICK_START = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC']
const POOL = ['initial-size=1', 'min-size=1', 'max-size=10']
const API = '/apis/ccompat/v7'
const PROBE_TIMEOUT_MS = 5_000
const CONTENT_TYPE = 'application/vnd.schemaregistry.v1+json'

/**
 * Apicurio Registry with its Confluent-compatible API. Its database is a file, so that schema ids survive a restart, and
 * every commit is written through, so that an id which was answered survives a kill as well.
 */
export const registry: Component = {
  name: 'registry',
  ports: ['registry'],
  address: ({ ports }) => `http://${LOOPBACK}:${ports.registry}${API}`,

  async prepare({ dataDir, ports }) {
    const folder = path.join(dataDir, 'registry')
    mkdirSync(folder, { recursive: true })
    return {
      command: 'java',
      args: [
        '-Xmx384m',
        '-XX:+ExitOnOutOfMemoryError',
        ...QUICK_START,
        ...POOL.map((setting) => `-Dquarkus.datasource.jdbc.${setting}`),
        `-Dquarkus.http.host=${LOOPBACK}`,
        `-Dquarkus.http.port=${ports.registry}`,
        '-jar',
        path.join(requireComponent('registry'), RUNNER),
      ],
      env: {
        REGISTRY_DATASOURCE_URL: `jdbc:h2:file:${path.join(folder, 'schemas')};WRITE_DELAY=0;DB_CLOSE_ON_EXIT=FALSE`,
        LOG_LEVEL: 'WARN',
        REGISTRY_LOG_LEVEL: 'WARN',
      },
    }
  },

  /** Also sets the global compatibility rule: without one Apicurio accepts every change. */
  async probe(settings) {
    const answer = await fetch(`${registry.address(settings)}/config`, {
      method: 'PUT',
      headers: { 'content-type': CONTENT_TYPE },
      body: JSON.stringify({ compatibility: 'BACKWARD' }),
      signal: AbortSignal.timeout(PROBE_TIMEOUT_MS),
    })
    if (!answer.ok) throw new Error(`the registry answers ${answer.status}`)
    await answer.body?.cancel()
  },
}
