import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'

const MAX_LINES = 400
const WRITTEN_BY_HAND = /\.(ts|mjs|cjs|js|py|sh|sql|avsc|xml|ya?ml|md)$/

/** Hosts of package registries, which only the configuration of their clients may name; in parts, not to find this list. */
const REGISTRY_HOSTS = [
  ['registry', 'npmjs', 'org'],
  ['pypi', 'org'],
  ['pythonhosted', 'org'],
  ['repo', 'maven', 'apache', 'org'],
  ['repo1', 'maven', 'org'],
  ['crates', 'io'],
  ['proxy', 'golang', 'org'],
  ['deb', 'debian', 'org'],
].map((parts) => parts.join('[.]'))

/** Absolute paths of somebody's machine. */
const HOME_FOLDERS = '(^|[^A-Za-z0-9_.~-])/(work|root|home/[a-z]+|Users/[A-Za-z]+)/'

const git = (root: string, args: readonly string[]) => promisify(execFile)('git', args, { cwd: root })

/** Rejects with the tracked files that are longer than anybody reads. */
export async function longFiles(root: string): Promise<void> {
  const { stdout } = await git(root, ['ls-files', '-z'])
  const files = stdout.split('\0').filter((file) => WRITTEN_BY_HAND.test(file))
  const lengths = await Promise.all(
    files.map(async (file) => {
      const lines = (await readFile(path.join(root, file), 'utf8')).split('\n').length - 1
      return lines > MAX_LINES ? [`${file}: ${lines} lines, at most ${MAX_LINES} are allowed`] : []
    }),
  )
  if (lengths.flat().length > 0) throw new Error(lengths.flat().join('\n'))
}

/** Rejects with the places in tracked text files that name a machine's own folders or a package registry. */
export async function forbiddenText(root: string): Promise<void> {
  try {
    const { stdout } = await git(root, ['grep', '-nIE', [HOME_FOLDERS, ...REGISTRY_HOSTS].join('|')])
    throw new Error(stdout.trim())
  } catch (error) {
    const foundNothing = error instanceof Error && 'code' in error && error.code === 1
    if (!foundNothing) throw error
  }
}
