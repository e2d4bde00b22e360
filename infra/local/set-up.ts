import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { componentFolder, type StackSettings } from './settings.ts'

/** Fetches the programs that the stack needs and does not have, showing how it goes. Rejects when that fails. */
export async function setUpComponents(settings: StackSettings): Promise<void> {
  const needed = (['kafka', 'registry'] as const).filter((name) => settings.external[name] === undefined)
  if (needed.every((name) => existsSync(componentFolder(name)))) return
  const setUp = spawn(process.execPath, [path.join(import.meta.dirname, 'bootstrap.mjs')], { stdio: 'inherit' })
  const [code] = (await once(setUp, 'exit')) as [number | null]
  if (code !== 0) throw new Error('the set-up of the local stack failed, see above')
}
