import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'

const STAGES = ['ingest', 'processors', 'inference', 'sinks']
/** A program that a test runs, shown whole. */
const CONSUMER = 'test/support/clients/consume_predictions.py'

/** Pages with what they show of other files: the stages' variables, as they print them, and a client program. */
export function pagesWithGeneratedParts(root: string): readonly (readonly [file: string, text: string])[] {
  const table = ['| variable | meaning |', '| --- | --- |', ...variableRows(root)].join('\n')
  const program = readFileSync(path.join(root, CONSUMER), 'utf8').trimEnd()
  return [
    filled(root, 'README.md', 'consumer', `\`\`\`python\n${program}\n\`\`\``),
    filled(root, 'infra/runtime/README.md', 'variables', table),
  ]
}

/** Puts the content between `<!-- part: npm run generate -->` and `<!-- /part -->`. */
function filled(root: string, file: string, part: string, content: string): readonly [file: string, text: string] {
  const text = readFileSync(path.join(root, file), 'utf8')
  const begin = `<!-- ${part}: npm run generate -->`
  const end = `<!-- /${part} -->`
  const from = text.indexOf(begin)
  const to = text.indexOf(end)
  if (from < 0 || to < from) throw new Error(`${file} has no place for ${part}: ${begin} … ${end}`)
  return [file, `${text.slice(0, from)}${begin}\n\n${content}\n\n${text.slice(to)}`]
}

/** Each variable once, in the order in which the stages print it, shared ones last. */
function variableRows(root: string): readonly string[] {
  const lists = STAGES.map((stage) => {
    const main = path.join(root, stage, 'main.ts')
    const args = ['--conditions=millrace-source', main, '--help']
    return execFileSync(process.execPath, args, { encoding: 'utf8' })
      .split('\n')
      .filter((line) => line.startsWith('| `'))
  })
  const inAll = (row: string): boolean => lists.every((rows) => rows.includes(row))
  const all = [...new Set(lists.flat())]
  return [...all.filter((row) => !inAll(row)), ...all.filter(inAll)]
}
