import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, test } from 'vitest'

const HEAP = pathToFileURL(join(import.meta.dirname, '../../infra/runtime/heap.ts')).href

/** What V8 says after a full collection: how much is left, and what it may grow to before the next; of `prepare` and some MB. */
function growth(prepare: string): number {
  const program = `
    ${prepare}
    globalThis.kept = Array.from({ length: 500_000 }, (_, at) => ({ at }))
    gc()
  `
  // in a heap that may not become large V8 chooses twice at most by itself
  const args = [
    '--max-old-space-size=192',
    '--expose-gc',
    '--trace-gc-verbose',
    '--input-type=module',
    '--eval',
    program,
  ]
  const said = execFileSync(process.execPath, args, { encoding: 'utf8' })
  const limits = [...said.matchAll(/HeapController\] Limit: old size: (\d+) KB, new limit: (\d+) KB/g)]
  expect(limits).not.toHaveLength(0)
  const [, left, limit] = limits.at(-1) ?? []
  return Number(limit) / Number(left)
}

test('the heap of a process that moves records may become four times as large before all of it is collected', () => {
  expect(growth('')).toBeLessThan(3)
  expect(growth(`(await import('${HEAP}')).collectSeldom()`)).toBeGreaterThanOrEqual(4)
})
