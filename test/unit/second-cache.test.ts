import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { secondCacheBytes } from '../../inference/batching/second-cache.ts'

const root = mkdtempSync(join(tmpdir(), 'millrace-cache-'))
afterAll(() => rmSync(root, { recursive: true }))

/** A folder as the kernel makes it, of caches by level. */
function folderOf(name: string, sizes: readonly (readonly [level: number, size: string])[]): string {
  const folder = join(root, name)
  for (const [at, [level, size]] of sizes.entries()) {
    mkdirSync(join(folder, `index${at}`), { recursive: true })
    writeFileSync(join(folder, `index${at}`, 'level'), `${level}\n`)
    writeFileSync(join(folder, `index${at}`, 'size'), `${size}\n`)
  }
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'uevent'), '')
  return folder
}

test.each([
  [
    'as the kernel says',
    [
      [1, '48K'],
      [1, '32K'],
      [2, '1280K'],
      [3, '32M'],
    ],
    1_310_720,
  ],
  ['in MiB', [[2, '2M']], 2_097_152],
  ['in bytes', [[2, '262144']], 262_144],
  ['a small one where there is none', [[1, '32K']], 524_288],
  ['a small one where it is not understood', [[2, 'unknown']], 524_288],
] as const)('the second cache: %s', (name, sizes, expected) => {
  expect(secondCacheBytes(folderOf(name, sizes))).toBe(expected)
})

test('the second cache: a small one where nobody tells', () => {
  expect(secondCacheBytes(join(root, 'missing'))).toBe(524_288)
})
