import { writeSync } from 'node:fs'
import type { Reporter } from 'vitest/node'

const STDOUT = 1

/**
 * Ends a run with the line `N passed, N failed`, which continuous integration reads. A run that fails outside every test
 * (its set-up, a file that does not load, an error nobody caught) has at least one failure.
 */
export function countReporter(): Reporter {
  const counts = { passed: 0, failed: 0, skipped: 0 }
  return {
    onInit() {
      // Last of all, and also when the run never began.
      process.once('exit', (code) => {
        const failed = Math.max(counts.failed, code === 0 ? 0 : 1)
        const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : ''
        writeSync(STDOUT, `${counts.passed} passed, ${failed} failed${skipped}\n`)
      })
    },
    onTestRunStart() {
      Object.assign(counts, { passed: 0, failed: 0, skipped: 0 })
    },
    onTestCaseResult(test) {
      const { state } = test.result()
      if (state !== 'pending') counts[state]++
    },
    onTestModuleEnd(module) {
      if (module.errors().length > 0) counts.failed++
    },
  }
}
