/** What is wrong with a pipeline folder: every problem at once, each with its file and the place in it. */
export interface Problem {
  readonly file: string
  /** Place in the file, as in `features.wind_speed.by[1]`; empty = the file as a whole. */
  readonly path: string
  readonly message: string
}

export type Report = (path: string, message: string) => void

export class PipelineError extends Error {
  readonly code = 'invalid_pipeline'
  readonly problems: readonly Problem[]

  constructor(problems: readonly Problem[]) {
    super(problems.map(formatProblem).join('\n'))
    this.name = 'PipelineError'
    this.problems = problems
  }
}

export function formatProblem({ file, path, message }: Problem): string {
  return path === '' ? `${file}: ${message}` : `${file}: ${path}: ${message}`
}

/** ` (did you mean x?)` for a name that is nearly one of the candidates, else what there is to choose from. */
export function suggest(name: string, candidates: readonly string[]): string {
  const ranked = candidates.map((candidate) => ({ candidate, distance: editDistance(name, candidate) }))
  const [best] = ranked.sort((a, b) => a.distance - b.distance)
  if (best === undefined) return ''
  if (best.distance <= Math.max(1, Math.floor(name.length / 3))) return ` (did you mean ${best.candidate}?)`
  return candidates.length <= 20 ? ` (there are: ${candidates.join(', ')})` : ''
}

/** Levenshtein distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
