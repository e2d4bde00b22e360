/** A user who reads, and nothing else. */
import { createHash, randomBytes } from 'node:crypto'
import type { Migration } from './migrate.ts'
import { sqlName, sqlText } from './sql-text.ts'

export interface Analyst {
  readonly name: string
  readonly password: string
  /** Sees the rows of this tenant alone; null = of all. */
  readonly tenant: string | null
}

export interface AnalystScope {
  readonly database: string
  readonly migrations: readonly Migration[]
  /** Views that a tenant's analyst may query: they read tables that have a tenant, and no others. */
  readonly views: readonly string[]
  /** Null = a single server. */
  readonly cluster: string | null
}

/** Of these a tenant's analyst sees the tenant's rows, and of other tables nothing. The server hears a hash of the password. */
export function analystStatements(analyst: Analyst, scope: AnalystScope): readonly string[] {
  const { name, password, tenant } = analyst
  const on = scope.cluster === null ? '' : ` ON CLUSTER ${sqlName(scope.cluster)}`
  const user = sqlName(name)
  const tables = tenantTables(scope.migrations)
  const place = (table: string): string => `${sqlName(scope.database)}.${sqlName(table)}`
  const salt = randomBytes(16).toString('hex')
  const hash = createHash('sha256').update(`${password}${salt}`).digest('hex')
  // made anew it has no rights of before; readonly = 2 lets clients choose formats and limits of their own
  const create = [
    `CREATE USER OR REPLACE ${user}${on} IDENTIFIED WITH sha256_hash BY '${hash}' SALT '${salt}' SETTINGS readonly = 2`,
  ]
  const drop = tables.map((table) => `DROP ROW POLICY IF EXISTS ${policy(name)}${on} ON ${place(table)}`)
  if (tenant === null) {
    return [
      ...create,
      ...drop,
      `GRANT${on} SELECT ON ${sqlName(scope.database)}.* TO ${user}`,
      // digests of API keys are in it
      `REVOKE${on} SELECT ON ${place('control_log')} FROM ${user}`,
    ]
  }
  return [
    ...create,
    ...tables.flatMap((table) => [
      // with a policy of any kind on a table, whoever has none may see nothing of it: the sinks among them
      `CREATE ROW POLICY IF NOT EXISTS millrace_everybody${on} ON ${place(table)} FOR SELECT USING 1 TO ALL`,
      // restrictive: what other policies allow does not widen it
      `CREATE ROW POLICY OR REPLACE ${policy(name)}${on} ON ${place(table)} AS RESTRICTIVE FOR SELECT USING tenant = ${sqlText(tenant)} TO ${user}`,
    ]),
    // views read as whoever asks, so the policies hold in them
    ...[...tables, ...scope.views].map((table) => `GRANT${on} SELECT ON ${place(table)} TO ${user}`),
  ]
}

const policy = (name: string): string => sqlName(`millrace_tenant_of_${name}`)

/** Tables with a column `tenant`. */
export function tenantTables(migrations: readonly Migration[]): readonly string[] {
  return migrations.flatMap(({ sql }) => {
    const [, name, columns = ''] = /^CREATE TABLE IF NOT EXISTS (\w+)\s*\(\n([\s\S]*?)\n\)/m.exec(sql) ?? []
    return name !== undefined && /^\s+tenant\s/m.test(columns) ? [name] : []
  })
}
