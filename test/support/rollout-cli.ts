import { Command } from 'commander'
import { registerRollout } from '../../infra/cli/commands/rollout.ts'
import { describeError } from '../../infra/runtime/errors.ts'

/* The commands of a rollout in a process of their own: node rollout-cli.ts promote <model>/<version> … */

const program = new Command('millrace')
registerRollout(program)
try {
  await program.parseAsync()
} catch (error) {
  process.stderr.write(`${describeError(error).code}\n`)
  process.exitCode = 1
}
