// Sets up what `npm start` and `npm test` need, on whatever Node runs npm and before any package is installed: hence plain
// JavaScript and nothing but Node. What is there already is skipped; nothing half-finished is ever taken for finished.
//
//   node infra/local/bootstrap.mjs [--test]
//
// Packages from package-lock.json; Kafka, the schema registry and Redis from pom.xml into .millrace/components/<hash of it>,
// without those that KAFKA_BROKERS, SCHEMA_REGISTRY_URL or REDIS_URL replace; with --test also a Python environment in
// .millrace/venv/<hash of test/requirements.txt>. Logs are in .millrace/logs/setup-*.log.
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'
import { argv, env, exit, platform, stdout, versions } from 'node:process'
import { contentHash, firstOnPath, runLogged, SetUpError, tryVersion, withLock } from './set-up-steps.mjs'

const here = import.meta.dirname ?? new URL('.', import.meta.url).pathname
const root = join(here, '../..')
const folder = resolve('.millrace')
const startedAt = performance.now()
const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(1)} s`

/**
 * One visible step: announced, because it may take long, and finished with its time.
 * @param {string} name
 * @param {string} hint what takes so long
 * @param {(log: string) => Promise<void>} work
 */
async function step(name, hint, work) {
  const since = performance.now()
  stdout.write(`  ${name} … (${hint})\n`)
  const reminder = setInterval(() => stdout.write(`  ${name}: still at it after ${seconds(since)}\n`), 30_000)
  try {
    await work(join(folder, 'logs', `setup-${name.toLowerCase().replace(/\W+/g, '-')}.log`))
  } finally {
    clearInterval(reminder)
  }
  stdout.write(`✓ ${name}: ${seconds(since)}\n`)
}

function checkNode() {
  const [major = 0, minor = 0] = versions.node.split('.').map(Number)
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new SetUpError(`Node ${versions.node} is too old: install Node 20.19 or newer from https://nodejs.org.`)
  }
}

/** True when node_modules is what package-lock.json says, by our stamp or, after an `npm install`, by npm's own record. */
function packagesAreCurrent(lockHash) {
  const modules = join(root, 'node_modules')
  const stamp = join(modules, '.millrace-lock')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lockHash) return true
  const record = join(modules, '.package-lock.json')
  if (!existsSync(record)) return false
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages
  const installed = JSON.parse(readFileSync(record, 'utf8')).packages
  const matches = Object.entries(wanted).every(
    ([path, { version, optional }]) =>
      path === '' || (installed[path] ? installed[path].version === version : optional),
  )
  if (matches) writeFileSync(stamp, lockHash)
  return matches
}

async function setUpPackages() {
  const lock = join(root, 'package-lock.json')
  if (!existsSync(lock)) return // installed as a package itself: its dependencies came with it
  const lockHash = contentHash(lock)
  if (packagesAreCurrent(lockHash)) return
  await step('npm packages', 'about 400 MB to download the first time', async (log) => {
    // npm has to run on the machine's Node: the one in node_modules is about to be replaced
    const path = (env.PATH ?? '').split(delimiter).filter((entry) => !entry.endsWith(join('node_modules', '.bin')))
    // like `npm ci`, which however refuses a lockfile without the optional packages of platforms it was not made on
    const options = { cwd: root, env: { ...env, PATH: path.join(delimiter) } }
    await runLogged('npm', ['install', '--no-save', '--no-audit', '--no-fund'], log, options)
    writeFileSync(join(root, 'node_modules', '.millrace-lock'), lockHash)
  })
}

const ARCHITECTURES = { x64: 'amd64', arm64: 'arm64' }

/** The profiles of pom.xml that this machine needs. */
function neededComponents() {
  const needed = []
  // tests stop, fill and break what they run on: they always have a stack of their own
  const replaced = (/** @type {string} */ name) => Boolean(env[name]) && !argv.includes('--test')
  if (!replaced('KAFKA_BROKERS')) needed.push('kafka')
  if (!replaced('SCHEMA_REGISTRY_URL')) needed.push('registry')
  if (!replaced('REDIS_URL') && !firstOnPath('redis-server')) needed.push('redis')
  return needed
}

async function setUpComponents() {
  const needed = neededComponents()
  if (needed.includes('kafka') || needed.includes('registry')) {
    const java = tryVersion('java', ['-version'], /version "(?:1\.)?(\d+)/)
    const remedy =
      'install a JDK, version 17 or newer, or set KAFKA_BROKERS and SCHEMA_REGISTRY_URL to running services'
    if (java === undefined) throw new SetUpError(`Java is missing: ${remedy}.`)
    if (java < 17) throw new SetUpError(`Java ${java} is too old: ${remedy}.`)
  }
  const pom = join(here, 'pom.xml')
  const target = join(folder, 'components', contentHash(pom).slice(0, 12))
  const missing = needed.filter((name) => !existsSync(join(target, name)))
  if (missing.length === 0) return
  if (tryVersion('mvn', ['-v'], /Apache Maven (\d+)/) === undefined) {
    throw new SetUpError(`Maven is missing: install it (the command mvn); it fetches ${missing.join(', ')}.`)
  }
  await step(missing.join(', '), 'with Maven, up to 220 MB to download the first time', async (log) => {
    const unfinished = `${target}.unfinished`
    rmSync(unfinished, { recursive: true, force: true })
    mkdirSync(unfinished, { recursive: true })
    const redisPlatform = `${platform}-${ARCHITECTURES[process.arch] ?? process.arch}`
    const properties = [`-Dtarget=${unfinished}`, `-Dredis.platform=${redisPlatform}`]
    await runLogged('mvn', ['-B', '-ntp', '-f', pom, '-P', missing.join(','), ...properties, 'package'], log, {
      cwd: here,
      env,
    })
    mkdirSync(target, { recursive: true })
    for (const name of missing) {
      if (name === 'redis') nameRedis(join(unfinished, name), redisPlatform)
      renameSync(join(unfinished, name), join(target, name))
    }
    rmSync(unfinished, { recursive: true, force: true })
  })
}

/** The jar's binary carries its version and platform in its name. */
function nameRedis(redisFolder, redisPlatform) {
  const [binary] = existsSync(redisFolder)
    ? readdirSync(redisFolder).filter((name) => name.startsWith('redis-server-'))
    : []
  if (!binary)
    throw new SetUpError(`There is no Redis to download for ${redisPlatform}: install redis-server, or set REDIS_URL.`)
  renameSync(join(redisFolder, binary), join(redisFolder, 'redis-server'))
  chmodSync(join(redisFolder, 'redis-server'), 0o755)
}

async function setUpPython() {
  const requirements = join(root, 'test/requirements.txt')
  if (!existsSync(requirements)) throw new SetUpError(`${requirements} is missing: the checkout is incomplete.`)
  const venv = join(folder, 'venv', contentHash(requirements).slice(0, 12))
  const complete = join(venv, 'complete') // written last; an environment cannot be renamed into place
  if (existsSync(complete)) return
  const version = (command) => tryVersion(command, ['--version'], /Python 3\.(\d+)/) ?? 0
  const python = ['python3', 'python3.13', 'python3.12', 'python3.11'].find((command) => version(command) >= 11)
  if (!python)
    throw new SetUpError('Python is missing or too old: install Python 3.11 or newer (python3), which the tests use.')
  await step('Python packages', 'for the tests', async (log) => {
    rmSync(venv, { recursive: true, force: true })
    const options = { cwd: root, env }
    await runLogged(python, ['-m', 'venv', venv], log, options)
    await runLogged(
      join(venv, 'bin/python'),
      ['-m', 'pip', 'install', '--disable-pip-version-check', '-r', requirements],
      log,
      options,
    )
    writeFileSync(complete, '')
  })
}

try {
  checkNode()
  mkdirSync(join(folder, 'logs'), { recursive: true })
  await withLock(join(folder, 'setup.lock'), async () => {
    await setUpPackages()
    if (argv.includes('--test')) await setUpPython()
    await setUpComponents()
  })
  stdout.write(`✓ set-up: ${seconds(startedAt)}\n`)
} catch (error) {
  if (!(error instanceof SetUpError)) throw error
  stdout.write(`✗ ${error.message}\n`)
  exit(1)
}
