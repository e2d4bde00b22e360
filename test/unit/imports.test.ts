import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { cruise, type ICruiseResult } from 'dependency-cruiser'
import { expect, onTestFinished, test } from 'vitest'
import rules from '../../infra/tooling/dependency-cruiser.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const FOLDERS = ['ingest', 'processors', 'inference', 'sinks', 'schemas', 'infra', 'test']

async function violations(baseDir: string, folders: readonly string[]): Promise<readonly string[]> {
  const { options, forbidden } = rules
  const { output } = await cruise([...folders], {
    ...options,
    baseDir,
    tsConfig: { fileName: path.join(ROOT, 'tsconfig.json') },
    ruleSet: { forbidden: forbidden ?? [] },
    validate: true,
  })
  return (output as ICruiseResult).summary.violations.map(({ rule, from, to }) => `${rule.name}: ${from} → ${to}`)
}

test('the repository keeps its import rules', async () => {
  expect(await violations(ROOT, FOLDERS)).toEqual([])
})

/** What each imports, and the rule that refuses it. */
const REFUSED = [
  ['schemas-is-a-leaf', 'schemas/topics.ts', 'infra/runtime/clock.ts'],
  ['schemas-is-a-leaf', 'schemas/topics.ts', 'node_modules/zod/index.js'],
  ['runtime-imports-only-schemas', 'infra/runtime/clock.ts', 'infra/cli/main.ts'],
  ['processors-imports-only-schemas-runtime-and-itself', 'processors/main.ts', 'sinks/rows.ts'],
  ['processors-imports-only-schemas-runtime-and-itself', 'processors/main.ts', 'infra/local/stack.ts'],
  ['inference-imports-only-schemas-runtime-and-itself', 'inference/main.ts', 'processors/process-batch.ts'],
  ['fused-main-joins-processors-to-scoring', 'inference/fused-main.ts', 'processors/main.ts'],
  ['infra-imports-no-stage', 'infra/cli/main.ts', 'sinks/commands/migrate.ts'],
  ['product-imports-no-test', 'sinks/rows.ts', 'test/support/rows.ts'],
  ['kafkajs-has-one-place', 'sinks/rows.ts', 'node_modules/kafkajs/index.js'],
  ['zod-has-one-place', 'sinks/rows.ts', 'node_modules/zod/index.js'],
  ['no-other-vendor', 'sinks/rows.ts', 'node_modules/left-pad/index.js'],
] as const

test.each(REFUSED)('%s: %s may not import %s', async (rule, from, to) => {
  const tree = mkdtempSync(path.join(tmpdir(), 'millrace-imports-'))
  onTestFinished(() => rmSync(tree, { recursive: true, force: true }))
  const write = (file: string, text: string) => {
    mkdirSync(path.dirname(path.join(tree, file)), { recursive: true })
    writeFileSync(path.join(tree, file), text)
  }
  write(to, 'export const it = 1\n')
  write(from, `export { it } from '${path.relative(path.dirname(from), to)}'\n`)
  expect(await violations(tree, [from])).toContain(`${rule}: ${from} → ${to}`)
})
