import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { onTestFinished } from 'vitest'
import { onnxModel } from '../../infra/bench/hop/onnx.ts'
import { type ModelManifest, readModelManifest } from '../../schemas/pipeline/manifest.ts'

type Json = Readonly<Record<string, unknown>>

export interface ModelVersion {
  readonly model: Parameters<typeof onnxModel>[0]
  readonly input: Json
  readonly output: Json
  readonly golden: readonly { readonly features: readonly (number | null)[]; readonly outputs: readonly number[] }[]
  /** Other members of manifest.json. */
  readonly more?: Json
  /** Content of files beside the model, by path; all are listed in the manifest unless `more.files` says otherwise. */
  readonly beside?: Readonly<Record<string, Buffer>>
}

export const float32 = (...names: readonly string[]): readonly Json[] =>
  names.map((name) => ({ name, type: 'float32' }))

export const digestOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

/** Writes a version folder, gone after the test. */
export function writeVersion({ model, input, output, golden, more, beside = {} }: ModelVersion): string {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-version-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const bytes = onnxModel(model)
  writeFileSync(join(folder, 'model.onnx'), bytes)
  for (const [path, content] of Object.entries(beside)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), content)
  }
  const manifest = {
    name: 'm',
    version: '1',
    file: 'model.onnx',
    sha256: digestOf(bytes),
    task: 'regression',
    input: { missing: 'refuse', ...input },
    output,
    golden,
    files: Object.entries(beside).map(([path, content]) => ({ path, sha256: digestOf(content) })),
    ...more,
  }
  writeFileSync(join(folder, 'manifest.json'), JSON.stringify(manifest))
  return folder
}

export const versionOf = (version: ModelVersion): ModelManifest => readModelManifest(writeVersion(version))
