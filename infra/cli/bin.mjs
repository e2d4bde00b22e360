#!/usr/bin/env node
// The command `millrace`. In a checkout it runs the sources, in the package what was built from them. Plain JavaScript,
// because Node before 22.18 runs no other, and the checkout brings the Node it needs.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const OLDEST = [22, 18]

const here = dirname(fileURLToPath(import.meta.url))
const source = join(here, 'main.ts')
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
const oldNode = major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])

if (existsSync(source)) {
  const own = join(here, '../../node_modules/.bin/node')
  const node = oldNode && existsSync(own) ? own : process.execPath
  const child = spawn(node, ['--conditions=millrace-source', source, ...process.argv.slice(2)], { stdio: 'inherit' })
  // A terminal sends Ctrl-C to the child as well, and twice would mean: at once.
  process.on('SIGINT', () => process.stdin.isTTY || child.kill('SIGINT'))
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.once('exit', (code, signal) => {
    process.exitCode = code ?? (signal === 'SIGINT' ? 130 : 1)
  })
} else if (oldNode) {
  process.stderr.write(`millrace needs Node ${OLDEST.join('.')} or newer, this is ${process.versions.node}.\n`)
  process.exitCode = 1
} else {
  await import('../../dist/infra/cli/main.js')
}
