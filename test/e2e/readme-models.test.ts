import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { commandConnections } from '../../infra/cli/connections.ts'
import { REPLACED_BY } from '../../infra/local/settings.ts'
import { type ClickHouseClient, createClickHouse } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { clickHouseConfig } from '../../infra/runtime/config.ts'
import type { RolloutEntry } from '../../schemas/control/models.ts'
import { digestOfFile } from '../../schemas/file-digest.ts'
import { eventually } from '../support/eventually.ts'
import { freshClone } from '../support/fresh-clone.ts'
import { ownPorts } from '../support/own-ports.ts'
import { pythonCommand } from '../support/python.ts'
import { readmeCommands } from '../support/readme-commands.ts'
import { type RunningProcess, spawnProgram } from '../support/spawn-process.ts'

// A newcomer types what the README's section on models says, word for word, in a fresh clone: a model of scikit-learn comes
// to production, and what it answered is read from ClickHouse.

const DEADLINE_MS = 240_000
const QUERY_TIMEOUT_MS = 30_000

test('the README takes a model of scikit-learn to production and back', { timeout: 1_200_000 }, async () => {
  const { listed, inText } = readmeCommands('Models')
  const [start = '', ...back] = inText
  expect(start).toMatch(/^npm start\b/)
  expect(back).toEqual([expect.stringContaining(' model rollback ')])

  const { ports, env: own } = await ownPorts()
  const folder = freshClone(ports[0] ?? 0)
  // `python3` is the one that the tests' set-up found new enough
  const PATH = `${path.dirname(pythonCommand())}${path.delimiter}${process.env['PATH']}`
  // pip's way to say --no-compile, half of its time: Python compiles what it imports
  const python = { PATH, PIP_NO_COMPILE: '0' }
  const typed = (command: string, env: NodeJS.ProcessEnv = {}) =>
    spawnProgram('bash', ['-c', command], { cwd: folder, env: { ...own, ...python, ...env } })
  const succeed = async (command: string, env?: NodeJS.ProcessEnv): Promise<string> => {
    const run = typed(command, env)
    expect(await run.exited, `${command}\n${run.output()}`).toBe(0)
    return run.output()
  }

  const first = listed.findIndex((command) => command.includes(' model push '))
  expect(first).toBeGreaterThan(0)
  for (const command of listed.slice(0, first)) await succeed(command)
  const up = typed(start)
  const env = await running(up)
  const { settings } = commandConnections({ ...process.env, ...env })
  const clickhouse = createClickHouse(clickHouseConfig(settings, QUERY_TIMEOUT_MS))
  onTestFinished(() => clickhouse.close())
  for (const command of listed.slice(first)) await inForce(clickhouse, await succeed(command, env))
  const { sha256 } = await digestOfFile(path.join(folder, '.millrace/forest/model.onnx'))
  await answeredInOrder(clickhouse, ['1', '2'], sha256)
  for (const command of back) await inForce(clickhouse, await succeed(command, env))
  await answeredInOrder(clickhouse, ['1', '2', '1'], sha256)

  // Ctrl-C reaches all that the terminal runs
  process.kill(-up.pid, 'SIGINT')
  expect(await up.exited, up.output()).toBe('SIGINT')
})

/** Waits until the screen of `npm start` shows predictions; answers the variables that tell commands where the stack is. */
async function running(up: RunningProcess): Promise<Readonly<Record<string, string>>> {
  const ended = up.exited.then((code) => {
    throw new Error(`npm start ended with ${code}:\n${up.output()}`)
  })
  const shown = () => expect(up.output()).toMatch(/predictions [1-9]\d*\/s/)
  await Promise.race([eventually(shown, { deadlineMs: DEADLINE_MS }), ended])
  const addresses = Object.entries(REPLACED_BY).map(([name, variable]) => {
    const [, address = ''] = new RegExp(`^✓ ${name} (\\S+) after`, 'm').exec(up.output()) ?? []
    return [variable, address] as const
  })
  return Object.fromEntries(addresses)
}

/** Where a command has said which plan is to serve: waits until every lane has an answer of that plan in ClickHouse. */
async function inForce(clickhouse: ClickHouseClient, said: string): Promise<void> {
  const epoch = [...said.matchAll(/\bepoch (\d+):/g)].at(-1)?.[1]
  if (epoch === undefined) return
  const { at, plan } = await eventually(
    async () => {
      const entry = (await rollouts(clickhouse)).at(-1)
      expect(String(entry?.active?.epoch)).toBe(epoch)
      return { at: entry?.at, plan: entry?.active }
    },
    { deadlineMs: DEADLINE_MS },
  )
  await eventually(
    async () => {
      const rows = await clickhouse.rows<{ role: string; version: string; lanes: string }>(
        `SELECT role, model_version AS version, uniqExact(kafka_partition) AS lanes FROM predictions FINAL
         WHERE toUnixTimestamp64Milli(scored_at) > {at:Int64} GROUP BY role, version`,
        { at },
      )
      const [all] = await clickhouse.rows<{ lanes: string }>(
        'SELECT uniqExact(kafka_partition) AS lanes FROM predictions FINAL',
      )
      expect(rows).toContainEqual({ role: 'primary', version: plan?.production, lanes: all?.lanes })
      if (plan?.candidate) {
        const { version } = plan.candidate
        expect(rows).toContainEqual({ role: 'canary', version, lanes: expect.any(String) })
      }
    },
    { deadlineMs: DEADLINE_MS },
  )
}

/** What the rollout's log in ClickHouse says, in order. */
async function rollouts(clickhouse: ClickHouseClient): Promise<readonly (RolloutEntry & { readonly at: string })[]> {
  const rows = await clickhouse.rows<{ ms: string; value: string }>(
    `SELECT toUnixTimestamp64Milli(at) AS ms, value FROM control_log FINAL WHERE kind = 'rollout' ORDER BY kafka_offset`,
  )
  return rows.map(({ ms, value }) => ({ ...(JSON.parse(value) as RolloutEntry), at: ms }))
}

/**
 * Every lane is answered without a gap, each event once, nothing is dead-lettered, and as production these versions answered one
 * after the other; version 2, the file with that digest, also as canary in between.
 */
async function answeredInOrder(
  clickhouse: ClickHouseClient,
  versions: readonly string[],
  digest: string,
): Promise<void> {
  const lanes = await clickhouse.rows(
    `SELECT count() = max(origin_offset) + 1 AS whole, count() = uniqExact(origin_offset) AS once,
            arrayCompact(arrayMap(row -> row.2, arrayFilter(row -> row.3 = 'primary',
              arraySort(groupArray((origin_offset, model_version, role)))))) AS production
     FROM predictions FINAL GROUP BY kafka_partition`,
  )
  expect(lanes).toEqual(lanes.map(() => ({ whole: 1, once: 1, production: versions })))
  expect(lanes.length).toBeGreaterThan(1)
  const [pushed] = await clickhouse.rows(
    `SELECT groupUniqArray(model_digest) AS digests, arraySort(groupUniqArray(role)) AS roles
     FROM predictions FINAL WHERE model_version = '2'`,
  )
  expect(pushed).toEqual({ digests: [digest], roles: ['canary', 'primary'] })
  expect(await clickhouse.rows('SELECT stage, reason, message FROM dead_letters FINAL LIMIT 5')).toEqual([])
  // nothing but what was typed has changed the rollout
  const steps = (await rollouts(clickhouse)).map(({ step }) => step)
  const typed = ['proposed', 'activated', 'proposed', 'activated', 'proposed', 'activated', 'rolled_back']
  expect(steps).toEqual(typed.slice(0, versions.length === 2 ? 6 : 7))
}
