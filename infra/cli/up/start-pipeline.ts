import path from 'node:path'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import type { StackSettings } from '../../local/settings.ts'
import type { Stack } from '../../local/stack.ts'
import type { SupervisedProcess } from '../../local/supervisor.ts'
import type { KafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import type { CommandConnections } from '../connections.ts'
import { declareTopics } from '../deployment/declare-topics.ts'
import { migratePipeline } from '../deployment/migrate-pipeline.ts'
import { registerSchemas } from '../deployment/register-schemas.ts'
import { moduleFile, NODE_FLAGS } from '../stage-module.ts'

export type StageName = 'ingest' | 'processors' | 'inference' | 'fused' | 'sinks'

const MODULES: Readonly<Record<StageName, string>> = {
  ingest: 'ingest/main',
  processors: 'processors/main',
  inference: 'inference/main',
  fused: 'inference/fused-main',
  sinks: 'sinks/main',
}
const SEPARATE: readonly StageName[] = ['ingest', 'processors', 'inference', 'sinks']
const FUSED: readonly StageName[] = ['ingest', 'fused', 'sinks']

/** Makes what the pipeline needs in Kafka, registry and ClickHouse; safe to repeat. */
export async function deployPipeline(
  pipeline: CompiledPipeline,
  { settings, registry }: CommandConnections,
  admin: KafkaAdmin,
  options: {
    readonly partitions: number
    readonly allowSingleReplica: boolean
    readonly onProgress: (line: string) => void
  },
): Promise<void> {
  const topics = await declareTopics(admin, pipeline, options)
  const made = topics.filter(({ state }) => state === 'created').length
  options.onProgress(`✓ topics: ${topics.length}, ${made} of them new`)
  const schemas = await registerSchemas(registry, pipeline)
  options.onProgress(`✓ schemas: ${schemas.length}`)
  const { applied, views } = await migratePipeline(pipeline.folder, settings)
  options.onProgress(`✓ ClickHouse: ${applied.length} migrations applied, ${views.length} views`)
}

export interface ReplayRequest {
  readonly limit?: number
  readonly from?: string
  readonly rate: string
  readonly onLine: (line: string) => void
}

/** The processes of a pipeline, under the stack's supervisor: they end before the components do. */
export function createProcesses(
  pipeline: CompiledPipeline,
  stack: Pick<Stack, 'env' | 'supervisor'>,
  settings: Pick<StackSettings, 'logDir'>,
) {
  const env = { ...stack.env, MILLRACE_PIPELINE: pipeline.folder }
  const run = (name: string, module: string, args: readonly string[], onLine?: (line: string) => void) =>
    stack.supervisor.run({
      name,
      command: process.execPath,
      args: [...NODE_FLAGS, moduleFile(module), ...args],
      env,
      logFile: path.join(settings.logDir, `${name}.log`),
      restart: onLine === undefined ? 'always' : 'never',
      ...(onLine === undefined ? {} : { onLine }),
    })
  return {
    startStage: (stage: StageName): SupervisedProcess => run(stage, MODULES[stage], []),
    /** `fused`: processors and inference are one process. */
    startStages({ fused = false } = {}): readonly SupervisedProcess[] {
      return (fused ? FUSED : SEPARATE).map((stage) => run(stage, MODULES[stage], []))
    },
    startReplay({ limit, from, rate, onLine }: ReplayRequest): SupervisedProcess {
      const args = ['--pipeline', pipeline.folder, '--rate', rate]
      if (limit !== undefined) args.push('--limit', String(limit))
      if (from !== undefined) args.push('--from', from)
      return run('replay', 'infra/sample/replay/main', args, onLine)
    },
  }
}
