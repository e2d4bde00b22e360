/** Every rule of the repository that is not a test: one line per check, with what it found when it fails. */
import { execFile } from 'node:child_process'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { forbiddenText, longFiles } from './tracked-files.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const FOLDERS = ['ingest', 'processors', 'inference', 'sinks', 'schemas', 'infra', 'test']
const MAX_OUTPUT_BYTES = 64 * 2 ** 20

interface Check {
  readonly name: string
  /** Rejects with what is wrong. */
  run(): Promise<unknown>
}

/** A development tool of node_modules, under the Node that runs this. */
function tool(name: string, bin: string, ...args: string[]): Check {
  return { name, run: () => command(path.join(ROOT, 'node_modules/.bin', bin), args) }
}

async function command(file: string, args: readonly string[]): Promise<void> {
  try {
    await promisify(execFile)(file, args, { cwd: ROOT, maxBuffer: MAX_OUTPUT_BYTES })
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string }
    throw new Error(`${stdout ?? ''}${stderr ?? ''}`.trim() || String(error), { cause: error })
  }
}

/** The slowest first. */
const CHECKS: readonly Check[] = [
  tool(
    'promises and switches (eslint)',
    'eslint',
    '--max-warnings=0',
    '--config=infra/tooling/eslint.config.js',
    ...FOLDERS,
  ),
  tool('types (tsc)', 'tsc', '--noEmit', '-p', '.'),
  tool('imports (dependency-cruiser)', 'depcruise', '--config=infra/tooling/dependency-cruiser.ts', ...FOLDERS),
  tool('unused code (knip)', 'knip', '--config=infra/tooling/knip.json', '--treat-config-hints-as-errors'),
  tool('format and lint (biome)', 'biome', 'check', '--error-on-warnings', '.'),
  {
    name: 'generated files',
    run: () => command(process.execPath, ['--conditions=millrace-source', 'infra/tooling/generate.ts', '--check']),
  },
  { name: 'file sizes', run: () => longFiles(ROOT) },
  { name: 'forbidden text', run: () => forbiddenText(ROOT) },
]

let passed = 0
let failed = 0
const waiting = CHECKS.values()

async function worker(): Promise<void> {
  for (const { name, run } of waiting) {
    const since = performance.now()
    try {
      await run()
      passed++
      console.log(`ok      ${name} (${((performance.now() - since) / 1000).toFixed(1)} s)`)
    } catch (error) {
      failed++
      console.log(`FAILED  ${name}\n${(error as Error).message.replace(/^/gm, '        ')}`)
    }
  }
}

await Promise.all(Array.from({ length: availableParallelism() }, worker))
console.log(`${passed} passed, ${failed} failed`)
if (failed > 0) process.exitCode = 1
