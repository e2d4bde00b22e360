import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'

const STAGES = ['ingest', 'processors', 'inference', 'sinks']
const BEGIN = '<!-- variables: npm run generate -->'
const END = '<!-- /variables -->'

/** README.md with the list of variables that the stages themselves print with `--help`. */
export function readmeWithVariables(root: string): readonly [file: string, text: string] {
  const file = 'README.md'
  const text = readFileSync(path.join(root, file), 'utf8')
  const [before, rest] = split(text, BEGIN)
  const [, after] = split(rest, END)
  const table = ['', '| variable | meaning |', '| --- | --- |', ...variableRows(root), '', ''].join('\n')
  return [file, `${before}${BEGIN}\n${table}${END}${after}`]
}

/** Each variable once, in the order in which the stages print it, shared ones last. */
function variableRows(root: string): readonly string[] {
  const lists = STAGES.map((stage) => {
    const main = path.join(root, stage, 'main.ts')
    if (!existsSync(main)) throw new Error(`${main} is missing`)
    const output = execFileSync(process.execPath, ['--conditions=millrace-source', main, '--help'], {
      encoding: 'utf8',
    })
    return output.split('\n').filter((line) => line.startsWith('| `'))
  })
  const inAll = (row: string): boolean => lists.every((rows) => rows.includes(row))
  const all = [...new Set(lists.flat())]
  return [...all.filter((row) => !inAll(row)), ...all.filter(inAll)]
}

function split(text: string, marker: string): readonly [before: string, after: string] {
  const at = text.indexOf(marker)
  if (at < 0) throw new Error(`README.md has no line ${marker}`)
  return [text.slice(0, at), text.slice(at + marker.length)]
}
