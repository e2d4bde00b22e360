import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, onTestFinished } from 'vitest'
import { eventually } from './eventually.ts'
import { copyPipeline, FLIGHTS } from './pipeline-copy.ts'
import { type RunningPipeline, runPipeline } from './running-pipeline.ts'
import { spawnNode } from './spawn-process.ts'
import { uniqueName } from './unique-name.ts'

const DEADLINE_MS = 120_000

/** The sample pipeline, running, with a model that no other test speaks of, and what its user types. */
export interface RolloutRun {
  readonly run: RunningPipeline
  readonly folder: string
  /** The model's name. */
  readonly model: string
  /** For other processes of the pipeline. */
  readonly env: Readonly<Record<string, string>>
  /** Gone after the test. */
  readonly scratch: string
  /** `millrace model …` as it is typed. */
  millrace(...args: readonly string[]): Promise<{ readonly code: unknown; readonly output: string }>
  /** The same, and it must end well. */
  succeed(...args: readonly string[]): Promise<string>
  /** Waits until so many events more than now are predicted. */
  predictedMore(events: number): Promise<void>
  /** Waits until inference says that a plan like this one is in force, and gives when it said so, epoch ms, `since` or later. */
  inForce(plan: object, since: number): Promise<number>
  /** What inference has logged under the message. */
  said(message: string): readonly LogLine[]
  /** The rollout's last entry in ClickHouse, once it is of that step and not older than `since`, epoch ms. */
  decided(step: string, since: number): Promise<Decision>
}

export interface LogLine {
  readonly time: string
  readonly msg: string
  readonly instance: string
  readonly [field: string]: unknown
}

export interface Decision {
  /** Epoch ms. */
  readonly at: number
  readonly actor: string
  readonly reason: string
  readonly evidence: Readonly<Record<string, unknown>> | null
}

export async function runRollout(stack: Readonly<Record<string, string>>): Promise<RolloutRun> {
  const scratch = mkdtempSync(path.join(tmpdir(), 'millrace-rollout-'))
  onTestFinished(() => rmSync(scratch, { recursive: true, force: true }))
  const model = uniqueName('model')
  const { folder } = copyPipeline(FLIGHTS, (source) => source.replace("name: 'flight-delay'", `name: '${model}'`))
  const manifest = path.join(folder, 'models/1/manifest.json')
  writeFileSync(manifest, readFileSync(manifest, 'utf8').replace('"flight-delay"', `"${model}"`))
  const env = {
    ...stack,
    MILLRACE_PIPELINE: folder,
    MILLRACE_MODEL_STORE: path.join(scratch, 'store'),
    MILLRACE_MODEL_CACHE: path.join(scratch, 'cache'),
  }
  const run = await runPipeline(folder, env)

  const millrace: RolloutRun['millrace'] = async (...args) => {
    const child = spawnNode(['infra/cli/main.ts', 'model', ...args], { env })
    return { code: await child.exited, output: child.output() }
  }

  const said: RolloutRun['said'] = (message) =>
    readFileSync(run.stage('inference').logFile, 'utf8')
      .split('\n')
      // what follows the last end of a line may be half of one
      .slice(0, -1)
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as LogLine)
      .filter(({ msg }) => msg === message)

  return {
    run,
    folder,
    model,
    env,
    scratch,
    millrace,
    said,
    inForce: (plan, since) =>
      eventually(
        () => {
          const last = said('rollout plan in force').at(-1)
          const at = Date.parse(last?.time ?? '')
          expect(last).toMatchObject(plan)
          expect(at).toBeGreaterThanOrEqual(since)
          return at
        },
        { deadlineMs: DEADLINE_MS },
      ),
    async succeed(...args) {
      const { code, output } = await millrace(...args)
      expect(code, output).toBe(0)
      return output
    },
    async predictedMore(events) {
      const enough = (await run.account()).predicted + events
      await eventually(async () => expect((await run.account()).predicted).toBeGreaterThanOrEqual(enough), {
        deadlineMs: DEADLINE_MS,
      })
    },
    decided: (step, since) =>
      eventually(
        async () => {
          const [last] = await run.clickhouse.rows<{ at: string; actor: string; reason: string; value: string }>(
            `SELECT toUnixTimestamp64Milli(at) AS at, actor, reason, value FROM control_log FINAL
             WHERE kind = 'rollout' AND name = {model:String} ORDER BY kafka_offset DESC LIMIT 1`,
            { model },
          )
          const value = JSON.parse(last?.value ?? '{}') as { step?: string; evidence?: Decision['evidence'] }
          expect(value.step).toBe(step)
          expect(Number(last?.at)).toBeGreaterThanOrEqual(since)
          return {
            at: Number(last?.at),
            actor: last?.actor ?? '',
            reason: last?.reason ?? '',
            evidence: value.evidence ?? null,
          }
        },
        { deadlineMs: DEADLINE_MS },
      ),
  }
}
