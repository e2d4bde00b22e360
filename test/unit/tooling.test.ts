import { execFile, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { forbiddenText, longFiles } from '../../infra/tooling/tracked-files.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')

function tree(files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'millrace-tooling-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(folder, file)), { recursive: true })
    writeFileSync(path.join(folder, file), text)
  }
  return folder
}

async function repository(files: Readonly<Record<string, string>>): Promise<string> {
  const folder = tree(files)
  for (const args of [
    ['init', '--quiet'],
    ['add', '.'],
  ])
    await promisify(execFile)('git', args, { cwd: folder })
  return folder
}

test('code of more than 400 lines is refused, data is not', async () => {
  await longFiles(await repository({ 'a.ts': 'a\n'.repeat(400), 'data.json': '1\n'.repeat(401) }))
  const long = await repository({ 'a.ts': 'a\n'.repeat(401) })
  await expect(longFiles(long)).rejects.toThrow('a.ts: 401 lines, at most 400 are allowed')
})

test('folders of a machine and hosts of package registries are refused', async () => {
  const allowed = `../${'work'}/a ./${'root'}/ https://nodejs.org/${'root'}/a .millrace/${'work'}/ the/${'home'}/of/it`
  await forbiddenText(await repository({ 'a.ts': allowed }))
  for (const text of ['root/x', 'work/x', 'home/anna/x'].map((folder) => `'/${folder}'`)) {
    await expect(forbiddenText(await repository({ 'a.ts': text }))).rejects.toThrow(`a.ts:1:${text}`)
  }
  const host = ['registry', 'npmjs', 'org'].join('.')
  await expect(forbiddenText(await repository({ 'a.ts': host }))).rejects.toThrow(`a.ts:1:${host}`)
})

const DONE = "console.log('set up')"
const scripts = (check: string, run: string) => JSON.stringify({ scripts: { check, test: run } })

test.each([
  [
    'everything passes',
    DONE,
    scripts("echo '3 passed, 0 failed'", "echo '9 passed, 0 failed'"),
    '12 passed, 0 failed',
    0,
  ],
  [
    'a check fails',
    DONE,
    scripts("echo '2 passed, 1 failed'; exit 1", "echo '9 passed, 0 failed'"),
    '11 passed, 1 failed',
    1,
  ],
  ['the tests die', DONE, scripts("echo '3 passed, 0 failed'", 'kill -9 $$'), '3 passed, 1 failed', 1],
  ['the set-up fails', 'process.exit(1)', scripts('exit 0', 'exit 0'), '0 passed, 1 failed', 1],
  ['nothing is tested', DONE, scripts('exit 0', 'exit 0'), '0 passed, 0 failed', 1],
])('the CI run ends with its counts when %s', (_, setUp, manifest, line, status) => {
  const folder = tree({ 'infra/local/bootstrap.mjs': setUp, 'package.json': manifest })
  cpSync(path.join(ROOT, '.ci/run'), path.join(folder, '.ci/run'))
  const run = spawnSync('bash', ['.ci/run'], { cwd: folder, encoding: 'utf8' })
  expect(run.stdout.trimEnd().split('\n').at(-1)).toBe(line)
  expect(run.status).toBe(status)
})
