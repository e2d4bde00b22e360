import path from 'node:path'
import { defineConfig } from 'vitest/config'
import { countReporter } from './support/count-reporter.ts'

const ROOT = path.resolve(import.meta.dirname, '..')
// `import 'millrace'` means the sources, in the modules Vitest loads and in those Node loads itself.
const CONDITIONS = ['millrace-source']
const source = {
  root: ROOT,
  resolve: { conditions: CONDITIONS },
  ssr: { resolve: { conditions: CONDITIONS, externalConditions: CONDITIONS } },
}
const shared = {
  pool: 'forks' as const,
  execArgv: CONDITIONS.map((condition) => `--conditions=${condition}`),
  // for what hangs: a busy machine may take ten times as long as an idle one
  testTimeout: 180_000,
  hookTimeout: 300_000,
  expect: { poll: { timeout: 30_000 } },
}

export default defineConfig({
  ...source,
  test: {
    reporters: ['default', countReporter()],
    projects: [
      {
        ...source,
        test: {
          ...shared,
          name: 'fast',
          include: ['test/{unit,property,guide}/**/*.test.ts'],
          // With one worker Vitest would run them after the stack's.
          maxWorkers: '100%',
          sequence: { groupOrder: 0 },
        },
      },
      {
        ...source,
        test: {
          ...shared,
          name: 'stack',
          include: ['test/{contract,integration,failure,e2e}/**/*.test.ts'],
          // The stack, the stages of a test and the test itself share the cores: one file at a time.
          fileParallelism: false,
          sequence: { groupOrder: 1 },
          globalSetup: [path.join(ROOT, 'test/support/stack-setup.ts')],
        },
      },
    ],
  },
})
