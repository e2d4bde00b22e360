import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Command } from 'commander'
import { beforeEach, expect, onTestFinished, test, vi } from 'vitest'
import { register as registerGenerate } from '../../infra/cli/commands/generate.ts'
import { register as registerLint } from '../../infra/cli/commands/lint.ts'
import { register as registerNew } from '../../infra/cli/commands/new.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { FLIGHTS, ORDERS } from '../support/pipeline-copy.ts'

const SCRATCH = path.resolve(import.meta.dirname, '../../.millrace/test-pipelines')

let folder = ''
beforeEach(() => {
  // Inside the checkout, where `import 'millrace'` resolves.
  mkdirSync(SCRATCH, { recursive: true })
  folder = mkdtempSync(path.join(SCRATCH, 'command-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
})

/** What a command printed; throws what it threw. */
async function millrace(...args: string[]): Promise<string> {
  const lines: string[] = []
  const log = vi.spyOn(console, 'log').mockImplementation((line: string) => void lines.push(line))
  onTestFinished(() => log.mockRestore())
  const program = new Command('millrace').exitOverride().configureOutput({ writeErr: () => undefined })
  for (const register of [registerLint, registerGenerate, registerNew]) register(program)
  for (const command of program.commands) command.exitOverride().configureOutput({ writeErr: () => undefined })
  await program.parseAsync(args, { from: 'user' })
  return lines.join('\n')
}

test.each([
  ['flights', FLIGHTS, 16],
  ['orders', ORDERS, 8],
])('lint finds no problem in %s', async (name, pipeline, features) => {
  expect(await millrace('lint', pipeline)).toMatch(new RegExp(`^${name}: ${features} features .* no problems$`))
})

test('lint names the files and places of what is wrong, golden events included', async () => {
  const copy = path.join(folder, 'orders')
  cpSync(ORDERS, copy, { recursive: true })
  const file = path.join(copy, 'golden.json')
  writeFileSync(file, '[{"event": {"order": 1}, "expect": {"reject": "x"}}]')
  writeFileSync(path.join(copy, 'models/1/model.onnx'), 'damaged')
  await expect(millrace('lint', copy)).rejects.toThrow(
    /models\/1\/model\.onnx: the model file is not the one .*\n.*golden\.json: \[0\]\.event\.order: there is no such field/,
  )
})

test('generate follows the schema', async () => {
  const copy = path.join(folder, 'orders')
  cpSync(ORDERS, copy, { recursive: true })
  const generated = path.join(copy, 'generated/records.ts')
  rmSync(generated)
  await millrace('generate', copy)
  expect(readFileSync(generated, 'utf8')).toBe(readFileSync(path.join(ORDERS, 'generated/records.ts'), 'utf8'))
  const schema = readFileSync(path.join(copy, 'label.avsc'), 'utf8')
  writeFileSync(path.join(copy, 'label.avsc'), schema.replace('"decided_at"', '"known_at"'))
  await millrace('generate', copy)
  expect(readFileSync(generated, 'utf8')).toContain('readonly known_at: number')
})

test('new starts a pipeline that loads, and never overwrites one', async () => {
  const copy = path.join(folder, 'started')
  await millrace('new', 'my-orders', '--from', path.join(ORDERS, 'event.avsc'), '--dir', copy)
  expect(readdirSync(copy).sort()).toEqual(['event.avsc', 'generated', 'label.avsc', 'pipeline.ts'])
  const pipeline = await loadPipeline(copy)
  expect(pipeline.event).toMatchObject({ idField: 'order_id', timeField: 'placed_at' })
  expect(pipeline.features.map((feature) => `${feature.kind} ${feature.name}`)).toEqual([
    'category channel',
    'number amount',
    'number items',
    'number customer_days',
    'flag gift',
    'flag express',
  ])
  const source = readFileSync(path.join(copy, 'pipeline.ts'), 'utf8')
  expect(source).toContain("// payment: category('payment', ['…', '…']), with the values that the model knows")
  await expect(millrace('lint', copy)).rejects.toThrow(
    'there is no version of the model my-orders yet. Add one as a folder',
  )
  await expect(millrace('new', 'my-orders', '--from', path.join(ORDERS, 'event.avsc'), '--dir', copy)).rejects.toThrow(
    'exists already; nothing was written',
  )
})

test('new works where no field is a feature by itself', async () => {
  const from = path.join(folder, 'tick.avsc')
  const fields = [
    { name: 'id', type: 'string' },
    { name: 'at', type: { type: 'long', logicalType: 'timestamp-millis' } },
    { name: 'what', type: 'string' },
  ]
  writeFileSync(from, JSON.stringify({ type: 'record', name: 'Tick', fields }))
  await millrace('new', 'ticks', '--from', from, '--dir', path.join(folder, 'ticks'))
  const { features } = await loadPipeline(path.join(folder, 'ticks'))
  expect(features.map((feature) => feature.name)).toEqual(['hour_of_day'])
})

test('new says what an event lacks, and refuses a name that is none', async () => {
  const from = path.join(folder, 'bare.avsc')
  writeFileSync(from, JSON.stringify({ type: 'record', name: 'Bare', fields: [{ name: 'id', type: 'string' }] }))
  await expect(millrace('new', 'bare', '--from', from, '--dir', path.join(folder, 'bare'))).rejects.toThrow(
    `${from}: fields: a pipeline's event needs a long field with logicalType timestamp-millis that is never null, for its time`,
  )
  await expect(millrace('new', 'Bare', '--from', from, '--dir', path.join(folder, 'bare'))).rejects.toThrow(
    'Bare is not a pipeline name',
  )
  expect(readdirSync(folder)).toEqual(['bare.avsc'])
})
