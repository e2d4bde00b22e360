import { Command } from 'commander'
import { PipelineError } from '../../schemas/pipeline/problems.ts'
import { describeError } from '../runtime/errors.ts'
import { register as registerAsyncApi } from './commands/asyncapi.ts'
import { register as registerAudit } from './commands/audit.ts'
import { register as registerBackfill } from './commands/backfill.ts'
import { register as registerDlq } from './commands/dlq.ts'
import { register as registerDoctor } from './commands/doctor.ts'
import { register as registerExport } from './commands/export.ts'
import { register as registerGenerate } from './commands/generate.ts'
import { register as registerKey } from './commands/key.ts'
import { register as registerLint } from './commands/lint.ts'
import { register as registerMigrate } from './commands/migrate.ts'
import { register as registerModel } from './commands/model.ts'
import { register as registerNew } from './commands/new.ts'
import { register as registerPositions } from './commands/positions.ts'
import { register as registerProfile } from './commands/profile.ts'
import { register as registerReport } from './commands/report.ts'
import { register as registerSchemas } from './commands/schemas.ts'
import { register as registerTenant } from './commands/tenant.ts'
import { register as registerTest } from './commands/test.ts'
import { register as registerTopics } from './commands/topics.ts'
import { register as registerUp } from './commands/up.ts'

const program = new Command('millrace').description('Streaming inference on Kafka').showHelpAfterError()
for (const register of [
  registerUp,
  registerNew,
  registerLint,
  registerTest,
  registerGenerate,
  registerAsyncApi,
  registerTopics,
  registerSchemas,
  registerMigrate,
  registerDoctor,
  registerAudit,
  registerDlq,
  registerPositions,
  registerModel,
  registerProfile,
  registerBackfill,
  registerReport,
  registerExport,
  registerTenant,
  registerKey,
]) {
  register(program)
}

try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof PipelineError) console.error(error.message)
  else console.error(`millrace: ${describeError(error).message}`)
  process.exitCode = 1
}
// what was printed into a pipe is on its way still, and would be cut off
await new Promise<void>((resolve) => process.stdout.write('', () => resolve()))
// everything is closed by now; a socket that kafkajs lost sight of in an outage would hold the process for minutes
process.exit()
