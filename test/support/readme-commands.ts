import { readFileSync } from 'node:fs'
import path from 'node:path'

const README = path.resolve(import.meta.dirname, '../../README.md')

/** What a reader of one section of README.md is told to type. */
export interface ReadmeCommands {
  /** The lines of its shell blocks. */
  readonly listed: readonly string[]
  /** npm commands within its text. */
  readonly inText: readonly string[]
}

/** Throws when README.md has no section of that name. */
export function readmeCommands(heading: string): ReadmeCommands {
  const [, section] = readFileSync(README, 'utf8').split(`\n## ${heading}\n`)
  if (section === undefined) throw new Error(`${README} has no section ${heading}`)
  const [text = ''] = section.split('\n## ')
  const fenced = /^```(\w*)\n(.*?)^```$/gms
  return {
    listed: [...text.matchAll(fenced)]
      .flatMap(([, language, block = '']) => (language === 'sh' ? block.split('\n') : []))
      .filter((line) => line !== ''),
    inText: [...text.replaceAll(fenced, '').matchAll(/`(npm [^`]+)`/g)].map(([, command = '']) => command),
  }
}
