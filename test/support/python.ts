import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'

const ROOT = path.resolve(import.meta.dirname, '../..')
const CLIENTS = path.join(import.meta.dirname, 'clients')
const DEADLINE_MS = 300_000

/** The interpreter that `node infra/local/bootstrap.mjs --test` sets up. */
export function pythonCommand(): string {
  const digest = createHash('sha256')
    .update(readFileSync(path.join(ROOT, 'test/requirements.txt')))
    .digest('hex')
  return path.join(ROOT, '.millrace/venv', digest.slice(0, 12), 'bin/python')
}

export function clientFile(name: string): string {
  return path.join(CLIENTS, name)
}

/** What a program of test/support/clients printed; rejects with what it wrote to stderr. */
export async function runClient(
  name: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<string> {
  const { stdout } = await promisify(execFile)(pythonCommand(), [clientFile(name), ...args], {
    env: { ...process.env, ...env, PYTHONDONTWRITEBYTECODE: '1' },
    timeout: DEADLINE_MS,
  })
  return stdout
}
