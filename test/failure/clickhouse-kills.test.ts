import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { createClickHouse } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { startEndpointProcess } from '../contract/clickhouse-endpoint-process.ts'
import { eventually } from '../support/eventually.ts'
import { land, marksChunk, marksDdl, marksOf, marksStore } from '../support/sealed-table.ts'
import { seededRandom } from '../support/seeded-random.ts'

// A server that was killed in the middle of an insert may know its token and not have its rows, or have both, or none. Where it
// comes to its end depends on the moment, so a seed says when it is killed.

const SEED = 20_261_121
const KILLS = 12
const ROWS = 2_000

test(`ClickHouse is killed ${KILLS} times in the middle of inserts: each row is there once`, {
  timeout: 900_000,
}, async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'millrace-kills-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const random = seededRandom(SEED)
  let endpoint = await startEndpointProcess(folder)
  onTestFinished(async () => void (await endpoint.stop('SIGKILL')))
  const url = endpoint.url
  const client = createClickHouse({
    url,
    user: 'default',
    database: 'default',
    requestTimeoutMs: 10_000,
    maxConnections: 4,
  })
  onTestFinished(() => client.close())
  await client.command(marksDdl())
  const store = marksStore(client, 'default')
  let attempts = 0
  let looks = 0

  for (let chunk = 0; chunk < KILLS; chunk++) {
    const rows = marksChunk(chunk * ROWS, (chunk + 1) * ROWS)
    const killAfterMs = random.between(0, 40)
    const killed = systemClock.sleep(killAfterMs).then(async () => {
      await endpoint.stop('SIGKILL')
      endpoint = await startEndpointProcess(folder, '', Number(new URL(url).port))
      await eventually(() => client.ping(), { deadlineMs: 60_000 })
    })
    const landed = await land(store, rows, {
      async again() {
        looks += 1
        await killed
      },
    })
    await killed
    attempts += landed.attempts
  }
  expect(looks).toBeGreaterThan(0)
  expect(await marksOf(client), `${looks} looks, ${attempts} raised attempts, seed ${SEED}`).toEqual({
    rows: KILLS * ROWS,
    offsets: KILLS * ROWS,
  })
})
