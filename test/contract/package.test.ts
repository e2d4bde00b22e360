import { execFile } from 'node:child_process'
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { spawnNode } from '../support/spawn-process.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const TSC = path.join(ROOT, 'node_modules/typescript/bin/tsc')
const SET_UP_MS = 300_000
const SHIPPED_SAMPLE = 'node_modules/millrace/dist/infra/sample/flights'

/** An empty project of somebody, outside the checkout, with the package as its only dependency. */
const project = mkdtempSync(path.join(tmpdir(), 'millrace-package-'))
const write = (file: string, text: string) => writeFileSync(path.join(project, file), text)

async function run(cwd: string, command: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(command, args, { cwd, maxBuffer: 64 * 2 ** 20 })
  return stdout
}

beforeAll(async () => {
  await run(ROOT, 'npm', 'pack', '--pack-destination', project)
  write('package.json', '{ "name": "somebody", "private": true, "type": "module" }')
  const [tarball] = globSync('*.tgz', { cwd: project })
  if (tarball === undefined) throw new Error('npm pack wrote no tarball')
  const quickly = ['--prefer-offline', '--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund']
  await run(project, 'npm', 'install', ...quickly, `./${tarball}`)
}, SET_UP_MS)

afterAll(() => rmSync(project, { recursive: true, force: true }))

test('both entries can be imported', async () => {
  write(
    'entries.js',
    `import { definePipeline, number } from 'millrace'
     import * as producer from 'millrace/producer'
     console.log(typeof definePipeline, typeof number, Object.keys(producer).length > 0)`,
  )
  expect(await run(project, process.execPath, 'entries.js')).toBe('function function true\n')
})

test('nothing in it can be armed to kill itself', async () => {
  expect(
    globSync('node_modules/millrace/**/kill-points/*.{js,ts}', { cwd: project }).map((file) => path.basename(file)),
  ).not.toContain('armed.js')
  const resolve = "console.log(import.meta.resolve('#kill-points'))"
  write('node_modules/millrace/resolve.mjs', resolve)
  expect(await run(project, process.execPath, 'node_modules/millrace/resolve.mjs')).toContain('/kill-points/unarmed.js')
})

test('npx millrace shows its commands, and takes the shipped sample pipeline', async () => {
  expect(await run(project, 'npx', '--no-install', 'millrace', '--help')).toContain('Usage: millrace')
  expect(await run(project, 'npx', '--no-install', 'millrace', 'lint', SHIPPED_SAMPLE)).toContain('no problems')
})

test('a new pipeline compiles, and a misspelt field in it does not', { timeout: SET_UP_MS }, async () => {
  const field = (name: string, type: unknown) => ({ name, type })
  const time = field('at', { type: 'long', logicalType: 'timestamp-millis' })
  const fields = [field('click_id', 'string'), time, field('price', 'double')]
  write('clicks.avsc', JSON.stringify({ type: 'record', name: 'Click', namespace: 'shop', fields }))
  await run(project, 'npx', '--no-install', 'millrace', 'new', 'clicks', '--from', 'clicks.avsc')

  const options = { strict: true, noEmit: true, allowImportingTsExtensions: true, module: 'nodenext', target: 'es2024' }
  write('tsconfig.json', JSON.stringify({ compilerOptions: options, include: ['clicks'] }))
  const compile = () => run(project, process.execPath, TSC, '-p', '.')
  await compile()
  const pipeline = readFileSync(path.join(project, 'clicks/pipeline.ts'), 'utf8')
  write('clicks/pipeline.ts', pipeline.replace("number('price')", "number('prise')"))
  await expect(compile()).rejects.toMatchObject({ stdout: expect.stringContaining('\'"prise"\'') })
})

test('in a checkout the command runs the sources', async () => {
  const millrace = spawnNode([path.join(ROOT, 'infra/cli/bin.mjs'), 'lint', 'infra/sample/flights'])
  expect(await millrace.exited).toBe(0)
  expect(millrace.output()).toContain('no problems')
})
