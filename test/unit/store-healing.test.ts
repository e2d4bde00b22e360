import { chmodSync, globSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { push } from '../../inference/commands/model-push.ts'
import { verifyVersion } from '../../inference/commands/model-verify.ts'
import { memoryControlLog } from '../support/memory-control-log.ts'

const NOTHING = { controlFlow: false, functions: false }
const FLIGHTS = path.resolve('infra/sample/flights')

test('verify sees what the store has lost, and the same push brings it back', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'millrace-healing-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const control = memoryControlLog()
  const places = { MILLRACE_MODEL_STORE: path.join(folder, 'store'), MILLRACE_MODEL_CACHE: path.join(folder, 'cache') }
  const env = { ...process.env, ...places }
  const options = {
    ...{ source: path.join(FLIGHTS, 'models/1'), pipeline: FLIGHTS, from: null, golden: null },
    ...{ version: null, task: null, missing: null, allowed: NOTHING, actor: 'test', reason: '' },
  }
  const verify = () => verifyVersion(control, 'flight-delay/1', NOTHING, env)
  const { entry, report } = await push(control, options, env)
  expect(report).toMatchObject({ refusal: null })

  const stored = globSync('*/*', { cwd: places.MILLRACE_MODEL_STORE }).map((name) =>
    path.join(places.MILLRACE_MODEL_STORE, name),
  )
  expect(stored).toHaveLength(2)
  for (const file of stored) rmSync(file)
  await expect(verify()).rejects.toMatchObject({ code: 'model_not_stored' })
  expect(await push(control, options, env)).toMatchObject({ entry, report: null })
  for (const file of stored) {
    chmodSync(file, 0o644)
    writeFileSync(file, 'damaged')
  }
  await expect(verify()).rejects.toMatchObject({ code: 'model_store_corrupt' })
  await push(control, options, env)
  expect(await verify()).toMatchObject({ refusal: null })
  expect(control.revision).toBe(1)
})
