import { spawnSync } from 'node:child_process'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'

// The set-up in a folder of its own, on machines that have only the commands of `tools`. It never installs anything here.

const BOOTSTRAP = join(import.meta.dirname, '../../infra/local/bootstrap.mjs')
let folder: string
let tools: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-setup-'))
  tools = join(folder, 'bin')
  await mkdir(tools)
})

afterEach(() => rm(folder, { recursive: true, force: true }))

async function tool(name: string, script: string): Promise<void> {
  await writeFile(join(tools, name), `#!/bin/sh\n${script}\n`)
  await chmod(join(tools, name), 0o755)
}

const NOTHING_LOCAL = { KAFKA_BROKERS: 'x:1', SCHEMA_REGISTRY_URL: 'http://x', REDIS_URL: 'redis://x' }

function setUp(env: Record<string, string> = {}, args: string[] = []): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [BOOTSTRAP, ...args], {
    cwd: folder,
    env: { PATH: tools, ...env },
    encoding: 'utf8',
  })
  return { status, output: stdout + stderr }
}

const JAVA_17 = `echo 'openjdk version "17.0.15" 2025-04-15' >&2`

test('without Java it says so, in one line', () => {
  expect(setUp()).toEqual({
    status: 1,
    output:
      '✗ Java is missing: install a JDK, version 17 or newer, or set KAFKA_BROKERS and SCHEMA_REGISTRY_URL to running services.\n',
  })
})

test('an old Java is refused', async () => {
  await tool('java', `echo 'java version "1.8.0_392"' >&2`)
  expect(setUp().output).toMatch(/^✗ Java 8 is too old: install a JDK, version 17 or newer, .*\n$/)
})

test('without Maven it says so, and what it is for', async () => {
  await tool('java', JAVA_17)
  expect(setUp()).toEqual({
    status: 1,
    output: '✗ Maven is missing: install it (the command mvn); it fetches kafka, registry, redis.\n',
  })
})

test('needs neither when every component is replaced, or Redis is installed', async () => {
  expect(setUp(NOTHING_LOCAL)).toMatchObject({ status: 0, output: expect.stringMatching(/^✓ set-up: \d+\.\d s\n$/) })
  await tool('redis-server', '')
  expect(setUp({ ...NOTHING_LOCAL, REDIS_URL: '' }).status).toBe(0)
})

test('the tests need Python 3.11', async () => {
  await tool('python3', 'echo Python 3.9.2')
  expect(setUp(NOTHING_LOCAL, ['--test'])).toEqual({
    status: 1,
    output: '✗ Python is missing or too old: install Python 3.11 or newer (python3), which the tests use.\n',
  })
})

test('when Maven fails, its errors and its log are shown, and the next run starts over', async () => {
  await tool('java', JAVA_17)
  const version = `if [ "$1" = -v ]; then echo 'Apache Maven 3.8.7'; exit; fi`
  await tool('mvn', `${version}\necho '[INFO] scanning'\necho '[ERROR] Could not transfer artifact'\nexit 1`)
  const { status, output } = setUp({ REDIS_URL: 'redis://x' })
  expect(status).toBe(1)
  expect(output).toContain('mvn -B ended with 1; see ')
  expect(output).toContain('setup-kafka-registry.log:\n  [ERROR] Could not transfer artifact\n')
  expect(output).not.toContain('scanning')

  const fetches = `for each in "$@"; do case "$each" in -Dtarget=*) target="\${each#-Dtarget=}";; esac; done
    /bin/mkdir -p "$target/kafka/libs" "$target/registry"`
  await tool('mvn', `${version}\n${fetches}`)
  expect(setUp({ REDIS_URL: 'redis://x' }).output).toMatch(/✓ kafka, registry: .* s\n✓ set-up: /)
  await tool('mvn', 'exit 1')
  expect(setUp({ REDIS_URL: 'redis://x' }).status).toBe(0)
})
