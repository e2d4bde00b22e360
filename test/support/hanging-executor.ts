/**
 * A process whose executor's child hangs in a run of the model in a folder, on a row whose first
 * feature is given; it prints the child's id.
 */
import { createProcessExecutor } from '../../inference/execution/process-executor.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { childPid } from './child-pid.ts'

const [folder = '', first] = process.argv.slice(2)
const manifest = readModelManifest(folder)
const options = { provider: 'cpu', logger: silentLogger, expectedMs: () => 60_000 } as const
const model = await createProcessExecutor(options).prepare(manifest)
const running = model.run(Float32Array.of(Number(first), 2, 3))
process.stdout.write(`${childPid()}\n`)
await running
