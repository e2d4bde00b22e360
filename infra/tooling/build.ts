/** Compiles the product into dist/, a tree like the one of the sources, with the files beside them that it reads at run time. */
import { execFileSync } from 'node:child_process'
import { cpSync, globSync, rmSync } from 'node:fs'
import path from 'node:path'

const ROOT = path.resolve(import.meta.dirname, '../..')
const DIST = path.join(ROOT, 'dist')
const READ_AT_RUN_TIME = '{ingest,processors,inference,sinks,schemas,infra}/**/*.{avro,avsc,json,mjs,onnx,sql,xml}'
const NOT_PRODUCT = /^infra\/(tooling\/|cli\/bin\.mjs$)/

rmSync(DIST, { recursive: true, force: true })
const tsc = path.join(ROOT, 'node_modules/.bin/tsc')
execFileSync(tsc, ['-p', 'infra/tooling/tsconfig.build.json'], { cwd: ROOT, stdio: 'inherit' })

const files = globSync(READ_AT_RUN_TIME, { cwd: ROOT }).filter((file) => !NOT_PRODUCT.test(file))
for (const file of files) cpSync(path.join(ROOT, file), path.join(DIST, file))
console.log(`built dist/ with ${files.length} files beside the code`)
