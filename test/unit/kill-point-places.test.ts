import { globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { KILL_POINTS } from '../../infra/runtime/kill-points/kill-points.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')

test('every kill point of the table is somewhere in the product, and every one there is in the table', () => {
  const files = globSync('{ingest,processors,inference,sinks,infra}/**/*.ts', { cwd: ROOT })
  const places = files.flatMap((file) =>
    [...readFileSync(path.join(ROOT, file), 'utf8').matchAll(/\bkillPoint\('([^']+)'\)/g)].map(
      ([, point = '']) => point,
    ),
  )
  expect([...new Set(places)].sort()).toEqual(Object.keys(KILL_POINTS).sort())
})
