import { inject } from 'vitest'
import { type ClickHouseClient, createClickHouse } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { CONNECTIONS, readConfig } from '../../infra/runtime/config.ts'
import { migrate, readMigrations } from '../../schemas/clickhouse/migrate.ts'
import { uniqueName } from './unique-name.ts'

/** A database of the test's own on the running ClickHouse. */
export interface TestDatabase {
  readonly name: string
  readonly client: ClickHouseClient
  /** A client of the same database with other settings. */
  clientWith(change: { url?: string; user?: string; database?: string; requestTimeoutMs?: number }): ClickHouseClient
  drop(): Promise<void>
}

export async function emptyDatabase(): Promise<TestDatabase> {
  const name = uniqueName('sinks').replaceAll('-', '_')
  const connections = readConfig(CONNECTIONS, inject('stack').env)
  const config = {
    url: connections.clickhouseUrl,
    user: connections.clickhouseUser,
    password: connections.clickhousePassword,
    requestTimeoutMs: 30_000,
    maxConnections: 4,
  }
  const server = createClickHouse({ ...config, database: 'default' })
  await server.command(`CREATE DATABASE ${name}`)
  const client = createClickHouse({ ...config, database: name })
  return {
    name,
    client,
    clientWith: (change) => createClickHouse({ ...config, database: name, ...change }),
    async drop() {
      await client.close()
      await server.command(`DROP DATABASE ${name}`)
      await server.close()
    },
  }
}

export async function migratedDatabase(): Promise<TestDatabase> {
  const database = await emptyDatabase()
  await migrate(database.client, readMigrations(), Date.now)
  return database
}
