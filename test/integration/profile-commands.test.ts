import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, inject, onTestFinished, test } from 'vitest'
import { bundledReference } from '../../infra/cli/up/reference.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { spawnNode } from '../support/spawn-process.ts'

const TIMEOUT = { timeout: 900_000 }
const env = () => ({ ...inject('stack').env })

async function millrace(...args: readonly string[]): Promise<{ code: unknown; output: string }> {
  const child = spawnNode(['infra/cli/main.ts', ...args], { env: env() })
  return { code: await child.exited, output: child.output() }
}

/** A file with the text, gone when the test is. */
function fileWith(text: string): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'millrace-profile-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const file = path.join(folder, 'reference.json')
  writeFileSync(file, text)
  return file
}

test('what lies beside a pipeline is its reference until another profile is accepted', TIMEOUT, async () => {
  const { folder, name } = copyPipeline(FLIGHTS)
  expect(await millrace('topics', folder, '--partitions', '1', '--allow-single-replica')).toMatchObject({ code: 0 })
  expect(await millrace('profile', 'list', name)).toEqual({ code: 0, output: 'there are no profiles\n' })
  const pipeline = await loadPipeline(folder)
  expect(await bundledReference(pipeline, env())).toBe(`✓ reference profile: ${name}/1`)
  expect(await bundledReference(pipeline, env())).toBeNull()

  const shown = await millrace('profile', 'show', `${name}/1`)
  expect(shown.output).toContain('state        accepted\n')
  expect(shown.output).toContain('predictions 2013-01-01 to 2013-04-01, 78035 rows')
  expect(shown.output).toContain('segments     EWR (28267), JFK (26561), LGA (23207)\n')
  expect(shown.output).toMatch(/ {2}carrier +missing +0\.0% {2}16 values: UA 17\.5%, B6/)

  const json = await millrace('profile', 'show', `${name}/1`, '--json')
  const create = (file: string) =>
    millrace('profile', 'create', folder, '--file', file, '--name', 'other', '--actor', 'ann')
  expect(await create(fileWith(json.output.replace('"rows":78035', '"rows":78036')))).toEqual({
    code: 1,
    output: expect.stringContaining('has digest'),
  })
  const proposed = await create(fileWith(json.output))
  expect(proposed).toEqual({ code: 0, output: expect.stringContaining(`proposed    ${name}/other  78035 rows`) })
  expect(await millrace('profile', 'accept', `${name}/other`, '--actor', 'ann')).toEqual({
    code: 0,
    output: `accepted    ${name}/other, superseded 1\n`,
  })
  const listed = await millrace('profile', 'list', name)
  expect(listed.output).toMatch(new RegExp(`${name}/1 +superseded`))
  expect(listed.output).toMatch(new RegExp(`${name}/other +accepted .* 78035 rows .* ann\n`))
  expect(await bundledReference(pipeline, env())).toBeNull()
})

test('a reference of other features is said, and holds up nothing', TIMEOUT, async () => {
  const { folder } = copyPipeline(FLIGHTS, (text) => text.replace("    distance: number('distance'),\n", ''))
  expect(await millrace('topics', folder, '--partitions', '1', '--allow-single-replica')).toMatchObject({ code: 0 })
  expect(await bundledReference(await loadPipeline(folder), env())).toContain('no reference profile')
})

test.each([
  [['--from', '2013-01-01'], 'either --file or --from and a later --to'],
  [['--from', '2013-01-02', '--to', '2013-01-01'], 'either --file or --from and a later --to'],
  [['--file', 'x', '--to', '2013-01-01'], 'are of predictions'],
  [['--from', '2013-01-01', '--to', '2013-01-02', '--score', 'p'], 'are of a --file'],
  [['--file', 'nothing'], 'nothing cannot be read'],
  [['--file', 'x', '--name', 'a/b'], 'a/b is not a name'],
])('profile create %j is refused', TIMEOUT, async (options, message) => {
  expect(await millrace('profile', 'create', FLIGHTS, ...options)).toEqual({
    code: 1,
    output: expect.stringContaining(message),
  })
})

test('the bundled reference is of the flights pipeline as it is', async () => {
  const { featureSet } = await loadPipeline(FLIGHTS)
  const { content } = JSON.parse(readFileSync(path.join(FLIGHTS, 'reference.json'), 'utf8'))
  expect(content.featureSet).toBe(featureSet.digest)
})
