import { type Command, InvalidArgumentError } from 'commander'
import { systemClock } from '../../runtime/clock.ts'
import { loadStageModule } from '../stage-module.ts'
import { time } from './audit.ts'

/** As sinks/commands/report.ts exports it. */
interface ReportModule {
  writeReport(
    options: {
      readonly folder: string
      readonly windowMs: number
      readonly to: number | null
      readonly out: string
      readonly now: number
    },
    env: NodeJS.ProcessEnv,
  ): Promise<{
    readonly from: number
    readonly to: number
    readonly predictions: number
    readonly profile: string | null
  }>
}

interface Flags {
  readonly window: number
  readonly to?: number
  readonly out: string
}

const UNITS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 }

export function register(program: Command): void {
  program
    .command('report')
    .description('write what has changed in data and quality as one HTML file, with pictures')
    .argument('<folder>', 'pipeline folder')
    .option('--window <time>', 'how much of event time, e.g. 12h or 30d', duration, 30 * 86_400_000)
    .option('--to <time>', 'its end (ISO 8601; default: the last event that was predicted)', time)
    .option('--out <file>', 'where it goes', 'report.html')
    .action(async (folder: string, { window, to, out }: Flags) => {
      const { writeReport } = await loadStageModule<ReportModule>('sinks/commands/report')
      const options = { folder, windowMs: window, to: to ?? null, out, now: systemClock.now() }
      const report = await writeReport(options, process.env)
      const of = `${new Date(report.from).toISOString()} to ${new Date(report.to).toISOString()}`
      const profile = report.profile === null ? 'compared with no profile' : `profile ${report.profile}`
      console.log(`${out}  ${of}  ${report.predictions} predictions  ${profile}`)
    })
}

function duration(text: string): number {
  const [, count, unit = ''] = /^(\d{1,5})([mhd])$/.exec(text) ?? []
  if (count === undefined || Number(count) === 0)
    throw new InvalidArgumentError('must be a time, e.g. 90m, 12h or 30d.')
  return Number(count) * (UNITS[unit] ?? Number.NaN)
}
