import { cpSync, mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { onTestFinished } from 'vitest'

const ROOT = path.resolve(import.meta.dirname, '../..')
/** What no clone has. */
const LOCAL = ['.git', '.millrace', '.venv', 'node_modules', 'dist', 'coverage', '__pycache__']

/**
 * This project in a folder of its own, as a clone of it is once it is set up: nothing was run there. Its name says whose it is
 * (`<process>-<id>`), as with stacks of tests: what a killed run leaves goes with the next one. Gone when the test is.
 */
export function freshClone(id: number): string {
  const folder = path.join(ROOT, '.millrace/test', `${process.pid}-${id}`)
  onTestFinished(() => rmSync(folder, { recursive: true, force: true, maxRetries: 20 }))
  mkdirSync(path.join(folder, '.millrace'), { recursive: true })
  for (const name of readdirSync(ROOT)) {
    if (LOCAL.includes(name)) continue
    const filter = (source: string) => !LOCAL.includes(path.basename(source))
    cpSync(path.join(ROOT, name), path.join(folder, name), { recursive: true, filter })
  }
  for (const fetched of ['node_modules', '.millrace/components']) {
    symlinkSync(path.join(ROOT, fetched), path.join(folder, fetched))
  }
  return folder
}
