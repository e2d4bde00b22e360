import { fork } from 'node:child_process'
import { extname, join } from 'node:path'
import { retryable } from '../../../infra/runtime/errors.ts'
import { childEnvironment } from '../child-environment.ts'
import type { Provider } from '../run-rows.ts'

/** How the child exits when there is none. */
export const MISSING = 3

const EXTENSION = extname(import.meta.filename)
const CHILD = join(import.meta.dirname, `provider-probe-child${EXTENSION}`)
const FLAGS = EXTENSION === '.ts' ? ['--conditions=millrace-source'] : []
const TIMEOUT_MS = 60_000

/**
 * Asks ONNX Runtime in a process of its own, since libraries that do not fit may take their process with them. Rejects with
 * `provider_probe_failed` (retry) when that died or did not answer.
 */
export async function isProviderThere(provider: Provider): Promise<boolean> {
  const child = fork(CHILD, [provider], {
    execArgv: FLAGS,
    env: childEnvironment(process.env),
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    timeout: TIMEOUT_MS,
    killSignal: 'SIGKILL',
  })
  const ended = Promise.withResolvers<string | number>()
  child.once('exit', (code, signal) => ended.resolve(code ?? signal ?? 'nothing'))
  child.once('error', (error) => ended.reject(retryable('provider_probe_failed', error.message, error)))
  const end = await ended.promise
  if (end === 0 || end === MISSING) return end === 0
  throw retryable('provider_probe_failed', `the process that tries ${provider} ended with ${end}`)
}
