import { readFileSync } from 'node:fs'
import { PipelineError } from './problems.ts'

/** The JSON in a file. Throws PipelineError naming the file when it is missing or is not JSON. */
export function readJson(file: string): unknown {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT'
    const message = missing
      ? 'there is no such file'
      : `cannot be read: ${error instanceof Error ? error.message : error}`
    throw new PipelineError([{ file, path: '', message }])
  }
  try {
    return JSON.parse(text)
  } catch (error) {
    const message = `is not valid JSON: ${error instanceof Error ? error.message : error}`
    throw new PipelineError([{ file, path: '', message }])
  }
}
