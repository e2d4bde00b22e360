import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { requireComponent } from '../settings.ts'
import { type Component, LOOPBACK } from './component.ts'

const RUNNER = 'apicurio-registry-app-2.6.13.Final-runner.jar'
const API = '/apis/ccompat/v7'
const CONTENT_TYPE = 'application/vnd.schemaregistry.v1+json'

/** Apicurio Registry with its Confluent-compatible API. Its database is a file, so that schema ids survive a restart. */
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
        `-Dquarkus.http.host=${LOOPBACK}`,
        `-Dquarkus.http.port=${ports.registry}`,
        '-jar',
        path.join(requireComponent('registry'), RUNNER),
      ],
      env: { REGISTRY_DATASOURCE_URL: `jdbc:h2:file:${path.join(folder, 'schemas')}` },
    }
  },

  /** Also sets the global compatibility rule: without one Apicurio accepts every change. */
  async probe(settings) {
    const answer = await fetch(`${registry.address(settings)}/config`, {
      method: 'PUT',
      headers: { 'content-type': CONTENT_TYPE },
      body: JSON.stringify({ compatibility: 'BACKWARD' }),
    })
    if (!answer.ok) throw new Error(`the registry answers ${answer.status}`)
    await answer.body?.cancel()
  },
}
