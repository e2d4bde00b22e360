import path from 'node:path'
import { onTestFinished } from 'vitest'
import { commandConnections } from '../../infra/cli/connections.ts'
import { patiently } from '../../infra/cli/patiently.ts'
import { type Account, account, type RunMarks } from '../../infra/cli/up/accounting.ts'
import { markRun } from '../../infra/cli/up/run-marks.ts'
import { createProcesses, deployPipeline, type StageName } from '../../infra/cli/up/start-pipeline.ts'
import { freePorts } from '../../infra/local/ports.ts'
import { createSupervisor, type SupervisedProcess } from '../../infra/local/supervisor.ts'
import { type ClickHouseClient, createClickHouse } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { clickHouseConfig } from '../../infra/runtime/config.ts'
import { type KafkaAdmin, startKafkaAdmin } from '../../infra/runtime/kafka/kafka-admin.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { eventually } from './eventually.ts'

const LOGS = path.resolve(import.meta.dirname, '../../.millrace/test-logs')

export interface RunningPipeline {
  readonly pipeline: CompiledPipeline
  readonly admin: KafkaAdmin
  readonly clickhouse: ClickHouseClient
  readonly marks: RunMarks
  /** Of the gateway, e.g. `http://127.0.0.1:41234`, once it runs. */
  readonly gatewayUrl: string
  /** The last that was started under the name. */
  stage(name: StageName): SupervisedProcess
  startStage(name: StageName): SupervisedProcess
  /** Starts the stages (again): what was changed in the folder counts from now on. */
  startStages(): void
  replay(options: { readonly limit?: number; readonly from?: string; readonly rate: string }): SupervisedProcess
  account(): Promise<Account>
  /** Waits until `events` events and all labels that are in Kafka have ended. */
  settled(events: number, deadlineMs: number): Promise<Account>
}

/** Deploys a pipeline on a running stack and, unless told otherwise, starts its stages. All of it ends with the test. */
export async function runPipeline(
  folder: string,
  env: Readonly<Record<string, string>>,
  options: { readonly partitions?: number; readonly start?: boolean } = {},
): Promise<RunningPipeline> {
  const pipeline = await loadPipeline(folder)
  const connections = commandConnections({ ...process.env, ...env })
  const admin = await startKafkaAdmin(connections.kafka)
  onTestFinished(() => admin.stop())
  const deployment = { partitions: options.partitions ?? 4, allowSingleReplica: true, onProgress: () => {} }
  // as `up` does it: a broker on a busy machine may not have the leaders of new topics yet
  const patience = { say: () => {}, signal: AbortSignal.timeout(180_000) }
  await patiently('deploying', () => deployPipeline(pipeline, connections, admin.value, deployment), patience)
  const clickhouse = createClickHouse(clickHouseConfig(connections.settings, 30_000))
  onTestFinished(() => clickhouse.close())
  const marks = await patiently('marking', () => markRun(pipeline, connections.kafka, admin.value), patience)
  const supervisor = createSupervisor()
  onTestFinished(() => supervisor.stop())
  const [gateway = 0, gatewayAdmin = 0] = await freePorts(2)
  const ports = { MILLRACE_GATEWAY_PORT: String(gateway), MILLRACE_ADMIN_PORT: String(gatewayAdmin) }
  const processes = createProcesses(
    pipeline,
    { env: { ...env, ...ports }, supervisor },
    { logDir: path.join(LOGS, pipeline.name) },
  )
  const stages = new Map<string, SupervisedProcess>()
  const startStages = (): void => {
    for (const stage of processes.startStages()) stages.set(stage.name, stage)
  }
  if (options.start !== false) startStages()
  const readAccount = (): Promise<Account> => account(pipeline, admin.value, clickhouse, marks)
  return {
    pipeline,
    admin: admin.value,
    clickhouse,
    marks,
    gatewayUrl: `http://127.0.0.1:${gateway}`,
    startStages,
    stage(name) {
      const stage = stages.get(name)
      if (stage === undefined) throw new Error(`${name} is not running`)
      return stage
    },
    startStage(name) {
      const stage = processes.startStage(name)
      stages.set(name, stage)
      return stage
    },
    replay: (request) => processes.startReplay({ ...request, onLine: () => {} }),
    account: readAccount,
    settled: (events, deadlineMs) =>
      eventually(
        async () => {
          const now = await readAccount()
          if (now.events === events && now.missing + now.labelsMissing === 0) return now
          throw new Error(`of ${now.events} events ${now.missing} and ${now.labelsMissing} labels are missing`)
        },
        { deadlineMs },
      ),
  }
}
