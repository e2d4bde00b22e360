import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { accessSync, closeSync, constants, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { env, kill, pid, stdout } from 'node:process'
import { setTimeout as delay } from 'node:timers/promises'

/** Something the user has to do; the message is one clear sentence. */
export class SetUpError extends Error {}

/** @param {string} file */
export const contentHash = (file) => createHash('sha256').update(readFileSync(file)).digest('hex')

/** @param {string} command @returns {string | undefined} its path, where PATH has it */
export function firstOnPath(command) {
  const paths = (env.PATH ?? '').split(delimiter).map((folder) => join(folder, command))
  return paths.find((path) => {
    try {
      accessSync(path, constants.X_OK)
      return true
    } catch {
      return false // not there, or not ours to run
    }
  })
}

/**
 * @param {string} command @param {string[]} args
 * @param {RegExp} pattern whose first group is the number asked for
 * @returns {number | undefined} undefined when the command is missing or does not work
 */
export function tryVersion(command, args, pattern) {
  const { status, stdout: out, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  const found = status === 0 ? pattern.exec(`${out}\n${stderr}`) : null
  return found ? Number(found[1]) : undefined
}

const EXCERPT_LINES = 10

/** What tells most: the first lines that call themselves errors, else the last ones. */
function excerpt(log) {
  const lines = readFileSync(log, 'utf8').trimEnd().split('\n')
  const errors = lines.filter((line) => /^(?:npm error .|\[ERROR\] .|ERROR: )/.test(line))
  return (errors.length > 0 ? errors.slice(0, EXCERPT_LINES) : lines.slice(-EXCERPT_LINES)).join('\n  ')
}

/**
 * Runs a command with everything it prints in `log`; when it fails, what it said and the log's name are the error.
 * @param {string} command @param {string[]} args @param {string} log
 * @param {{ cwd: string, env: NodeJS.ProcessEnv }} options
 */
export async function runLogged(command, args, log, options) {
  const output = openSync(log, 'w')
  const problem = await new Promise((resolve) => {
    const child = spawn(command, args, { ...options, stdio: ['ignore', output, output] })
    child.on('error', (error) => resolve(error.message))
    child.on('exit', (code, signal) => resolve(code === 0 ? undefined : `ended with ${signal ?? code}`))
  })
  closeSync(output)
  if (problem === undefined) return
  throw new SetUpError(`${command} ${args[0]} ${problem}; see ${log}:\n  ${excerpt(log)}`)
}

/** @param {string} file @returns {boolean} whether it names a process that lives */
function heldByLiving(file) {
  try {
    return kill(Number(readFileSync(file, 'utf8')), 0)
  } catch (error) {
    if (error.code === 'EPERM') return true
    if (error.code === 'ESRCH' || error.code === 'ENOENT') return false
    throw error
  }
}

/**
 * One set-up at a time per checkout; one that died holds nothing.
 * @param {string} file @param {() => Promise<void>} work
 */
export async function withLock(file, work) {
  for (let waiting = false; ; ) {
    try {
      writeFileSync(file, String(pid), { flag: 'wx' })
      break
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
    if (!heldByLiving(file)) rmSync(file, { force: true })
    else if (!waiting) stdout.write('  waiting for another set-up of this checkout …\n')
    waiting = true
    await delay(200)
  }
  try {
    await work()
  } finally {
    rmSync(file, { force: true })
  }
}
