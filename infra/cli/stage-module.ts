import { extname, join } from 'node:path'
import { pathToFileURL } from 'node:url'

const ROOT = join(import.meta.dirname, '../..')
/** `.ts` in a checkout, `.js` once built. */
const EXTENSION = extname(import.meta.filename)

/** File of a module by its path from the root without extension, e.g. `processors/main`. */
export function moduleFile(path: string): string {
  return join(ROOT, `${path}${EXTENSION}`)
}

/**
 * A command that lives with the stage it works on. Loaded by path when it is called: the command line imports no stage.
 */
export async function loadStageModule<T>(path: string): Promise<T> {
  return (await import(pathToFileURL(moduleFile(path)).href)) as T
}

/** Node's flags for a child process, so that a checkout runs its sources. */
export const NODE_FLAGS: readonly string[] = EXTENSION === '.ts' ? ['--conditions=millrace-source'] : []
