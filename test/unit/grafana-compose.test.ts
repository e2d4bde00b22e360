import { readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { GRAFANA, readDashboard } from '../support/grafana-dashboard.ts'

// What Grafana is started and provisioned with, read by the rules of Compose and of its provisioning.

interface Compose {
  readonly services: Readonly<
    Record<
      string,
      {
        readonly image: string
        readonly ports: readonly string[]
        readonly environment: Readonly<Record<string, string>>
        readonly volumes: readonly string[]
      }
    >
  >
  readonly volumes: Readonly<Record<string, unknown>>
}

interface Datasource {
  readonly name: string
  readonly uid: string
  readonly type: string
  readonly jsonData: Readonly<Record<string, string>>
  readonly secureJsonData: Readonly<Record<string, string>>
}

const read = (file: string): string => readFileSync(path.join(GRAFANA, file), 'utf8')
const text = read('compose.yaml')
const compose = parse(text) as Compose
const { datasources } = parse(read('provisioning/datasources/millrace.yaml')) as { datasources: readonly Datasource[] }
const { providers } = parse(read('provisioning/dashboards/millrace.yaml')) as {
  providers: readonly { readonly type: string; readonly options: { readonly path: string } }[]
}
const { grafana } = compose.services
if (grafana === undefined) throw new Error('there is no service grafana')
const { environment } = grafana
const mounts = grafana.volumes.map((volume) => {
  const [from = '', to = '', mode = 'rw'] = volume.split(':')
  return { from, to, mode }
})
/** `${NAME:?why}` is required, `${NAME:-value}` has a default. */
const variables = [...text.matchAll(/\$\{(\w+)(?::([?-])([^}]*))?\}/g)].map(([, name = '', kind, rest = '']) => ({
  name,
  kind: kind === '?' ? 'required' : kind === '-' ? 'default' : 'optional',
  rest,
}))

test('these files are all that there is', () => {
  const files = readdirSync(GRAFANA, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.yaml'))
  expect(files.toSorted()).toEqual([
    'compose.yaml',
    'provisioning/dashboards/millrace.yaml',
    'provisioning/datasources/millrace.yaml',
  ])
})

test('image and plugin are pinned, and only this machine is listened to', () => {
  expect(Object.keys(compose.services)).toEqual(['grafana'])
  expect(grafana.image).toMatch(/^[\w./-]+:\d+\.\d+\.\d+$/)
  const plugins = (environment['GF_PLUGINS_PREINSTALL_SYNC'] ?? '').split(',')
  expect(plugins).toEqual([expect.stringMatching(/^grafana-clickhouse-datasource@\d+\.\d+\.\d+$/)])
  for (const port of grafana.ports) expect(port).toMatch(/^127\.0\.0\.1:/)
})

test('each mounted path exists, is read only, and is where Grafana looks', () => {
  const files = mounts.filter(({ from }) => from.startsWith('.'))
  for (const { from, mode } of files) {
    expect(statSync(path.join(GRAFANA, from)), from).toBeDefined()
    expect(mode, from).toBe('ro')
  }
  expect(mounts.filter(({ from }) => !from.startsWith('.')).map(({ from }) => from)).toEqual(
    Object.keys(compose.volumes),
  )
  expect(files.find(({ from }) => from === './provisioning')?.to).toBe('/etc/grafana/provisioning')
  const dashboard = files.find(({ from }) => from === './millrace.json')?.to ?? ''
  expect(providers).toEqual([expect.objectContaining({ type: 'file' })])
  expect(providers[0]?.options.path).toBe(path.posix.dirname(dashboard))
  expect(environment['GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH']).toBe(dashboard)
})

test('every variable is required or documented with its default, and no password has one', () => {
  const rows = read('README.md')
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.split(' | '))
  const documented = new Map(
    rows.flatMap(([names = '', value = '']) =>
      [...names.matchAll(/`(\w+)`/g)].map(([, name = '']) => [name, value.replaceAll('`', '')] as const),
    ),
  )
  expect([...documented.keys()].toSorted()).toEqual([...new Set(variables.map(({ name }) => name))].toSorted())
  for (const { name, kind, rest } of variables) {
    expect(kind, name).not.toBe('optional')
    expect(rest, name).not.toBe('')
    expect(documented.get(name), name).toBe(kind === 'required' ? 'required' : rest)
  }
  const secrets = Object.entries(environment).filter(([name]) => /PASSWORD|SECRET|TOKEN/.test(name))
  expect(secrets.map(([name]) => name).toSorted()).toEqual(['CLICKHOUSE_PASSWORD', 'GF_SECURITY_ADMIN_PASSWORD'])
  for (const [name, value] of secrets) expect(value, name).toMatch(/^\$\{\w+:\?[^}]+\}$/)
})

test('the data source is the one of the dashboard, with what the container is given and no secret', () => {
  expect(datasources).toHaveLength(1)
  const [datasource] = datasources
  expect(datasource).toMatchObject({ type: 'grafana-clickhouse-datasource', jsonData: { protocol: 'http' } })
  const variable = readDashboard().templating.list.find(({ type }) => type === 'datasource')
  expect(variable).toMatchObject({
    query: datasource?.type,
    current: { text: datasource?.name, value: datasource?.uid },
  })
  expect(datasource?.secureJsonData).toEqual({ password: '$CLICKHOUSE_PASSWORD' })
  const used = [...JSON.stringify(datasource).matchAll(/\$(\w+)/g)].map(([, name = '']) => name)
  const given = Object.keys(environment).filter((name) => name.startsWith('CLICKHOUSE_'))
  expect(used.toSorted()).toEqual(given.toSorted())
})
