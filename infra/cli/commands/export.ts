import { type Command, InvalidArgumentError } from 'commander'
import { systemClock } from '../../runtime/clock.ts'
import { loadStageModule } from '../stage-module.ts'
import { time } from './audit.ts'

/** As sinks/commands/export.ts exports it. */
interface ExportModule {
  exportTrainingSet(
    options: {
      readonly folder: string
      readonly from: number
      readonly to: number
      readonly knownAt: number
      readonly labelled: boolean
      readonly out: string
    },
    env: NodeJS.ProcessEnv,
  ): Promise<{
    readonly rows: number
    readonly sha256: string
    readonly rowsOfOtherFeatures: number
    readonly modelVersions: readonly string[]
  }>
}

interface Flags {
  readonly from: number
  readonly to: number
  readonly out: string
  readonly labelled: boolean
  readonly knownAt?: number
}

export function register(program: Command): void {
  program
    .command('export')
    .description('write a training set: features as they were served, by name, with scores and labels, as Parquet')
    .argument('<folder>', 'pipeline folder')
    .requiredOption('--from <time>', 'events from then on (ISO 8601)', time)
    .requiredOption('--to <time>', 'events before (ISO 8601)', time)
    .requiredOption('--out <file>', 'Parquet file; what it holds is said beside it, in <file>.json', parquetFile)
    .option('--labelled', 'only events with a label', false)
    .option('--known-at <time>', 'labels of this time and before (default: now)', time)
    .action(async (folder: string, { from, to, out, labelled, knownAt }: Flags) => {
      const { exportTrainingSet } = await loadStageModule<ExportModule>('sinks/commands/export')
      const options = { folder, from, to, out, labelled, knownAt: knownAt ?? systemClock.now() }
      const { rows, sha256, rowsOfOtherFeatures, modelVersions } = await exportTrainingSet(options, process.env)
      console.log(`${out}  ${rows} rows  sha256 ${sha256}  versions ${modelVersions.join(', ') || 'none'}`)
      if (rowsOfOtherFeatures > 0) {
        console.log(`${rowsOfOtherFeatures} rows are left out: they have other features than the pipeline has now`)
      }
    })
}

function parquetFile(text: string): string {
  if (!text.endsWith('.parquet')) throw new InvalidArgumentError('must be a file named .parquet')
  return text
}
