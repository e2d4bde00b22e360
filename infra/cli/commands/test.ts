import path from 'node:path'
import type { Command } from 'commander'
import type { GoldenEvent, GoldenPrediction } from '../../../schemas/pipeline/golden.ts'
import { readGolden } from '../../../schemas/pipeline/golden.ts'
import { loadPipeline } from '../../../schemas/pipeline/load.ts'
import type { Problem } from '../../../schemas/pipeline/problems.ts'
import { formatProblem } from '../../../schemas/pipeline/problems.ts'
import { loadStageModule } from '../stage-module.ts'

/** As processors/commands/features.ts and inference/commands/score.ts export them. */
type FeatureResult =
  | { readonly ok: true; readonly features: readonly number[] }
  | { readonly ok: false; readonly reject: string; readonly message: string }
type ScoreResult =
  | { readonly ok: true; readonly score: number; readonly label: string | null }
  | { readonly ok: false; readonly reject: string; readonly message: string }
interface FeatureModule {
  featuresOf(folder: string, cases: readonly GoldenEvent[]): Promise<readonly FeatureResult[]>
}
interface ScoreModule {
  score(folder: string, rows: readonly Float32Array[]): Promise<readonly ScoreResult[]>
}

const SCORE_TOLERANCE = 1e-5

export function register(program: Command): void {
  program
    .command('test')
    .description('run the golden events of a pipeline through features and model, offline')
    .argument('<folder>', 'pipeline folder')
    .action(async (folder: string) => {
      const { events, problems } = await testGolden(folder)
      for (const problem of problems) console.error(formatProblem(problem))
      const failed = new Set(problems.map(({ path: place }) => /^\[\d+\]/.exec(place)?.[0])).size
      console.log(`${events - failed} golden events passed, ${failed} failed`)
      if (failed > 0) process.exitCode = 1
    })
}

async function testGolden(folder: string): Promise<{ readonly events: number; readonly problems: readonly Problem[] }> {
  const pipeline = await loadPipeline(folder)
  const golden = readGolden(pipeline)
  const { featuresOf } = await loadStageModule<FeatureModule>('processors/commands/features')
  const { score } = await loadStageModule<ScoreModule>('inference/commands/score')

  const features = await featuresOf(folder, golden)
  const scorable = features.flatMap((result, at) =>
    result.ok ? [{ at, row: Float32Array.from(result.features) }] : [],
  )
  const scores = await score(
    folder,
    scorable.map(({ row }) => row),
  )
  const scoreOf = new Map(scorable.map(({ at }, i) => [at, scores[i]]))

  const names = pipeline.features.map(({ name }) => name)
  const problems = golden.flatMap(({ expect }, at) => {
    const messages =
      'reject' in expect
        ? rejectProblems(expect.reject, features[at], scoreOf.get(at))
        : predictionProblems(expect, names, features[at], scoreOf.get(at))
    return messages.map(([place, message]) => ({
      file: path.join(pipeline.folder, 'golden.json'),
      path: `[${at}].expect.${place}`,
      message,
    }))
  })
  return { events: golden.length, problems }
}

type Mismatch = readonly [place: string, message: string]

function rejectProblems(reason: string, features?: FeatureResult, score?: ScoreResult): readonly Mismatch[] {
  if (features?.ok === false)
    return features.reject === reason ? [] : [['reject', `expected ${reason}, got ${said(features)}`]]
  if (score?.ok === false) return score.reject === reason ? [] : [['reject', `expected ${reason}, got ${said(score)}`]]
  return [['reject', `expected ${reason}, but the event was scored`]]
}

function predictionProblems(
  expected: GoldenPrediction,
  names: readonly string[],
  features?: FeatureResult,
  score?: ScoreResult,
): readonly Mismatch[] {
  if (features?.ok !== true) return [['features', `expected features, got ${said(features)}`]]
  const mismatches: Mismatch[] = []
  expected.features.forEach((value, i) => {
    const wanted = value === null ? Number.NaN : Math.fround(value)
    const got = features.features[i]
    if (!Object.is(wanted, got)) mismatches.push([`features.${names[i]}`, `expected ${text(wanted)}, got ${text(got)}`])
  })
  if (score?.ok !== true) return [...mismatches, ['score', `expected ${expected.score}, got ${said(score)}`]]
  if (Math.abs(score.score - expected.score) > SCORE_TOLERANCE) {
    mismatches.push(['score', `expected ${expected.score}, got ${score.score}`])
  }
  if (expected.label !== null && expected.label !== score.label) {
    mismatches.push(['label', `expected ${expected.label}, got ${score.label}`])
  }
  return mismatches
}

function text(value: number | undefined): string {
  return value === undefined ? 'nothing' : Number.isNaN(value) ? 'missing (null)' : String(value)
}

function said(
  result: { readonly ok: boolean; readonly reject?: string; readonly message?: string } | undefined,
): string {
  return result === undefined ? 'no result' : `${result.reject}: ${result.message}`
}
