import { parseArgs } from 'node:util'
import { CONNECTIONS, describeVariables, integerVariable, STAGE } from '../../runtime/config.ts'
import { fatal } from '../../runtime/errors.ts'

export const REPLAY = {
  tableWaitMs: integerVariable(
    'MILLRACE_REPLAY_TABLE_WAIT_MS',
    'How long the replay waits for the sinks to load the table rows it sent, ms',
    120_000,
    { min: 100, max: 3_600_000 },
  ),
} as const

export interface ReplayOptions {
  /** Null: where MILLRACE_PIPELINE says. */
  readonly folder: string | null
  /** Time of the first event, epoch ms; null = the first that there is. */
  readonly from: number | null
  /** Events; Infinity = all. */
  readonly limit: number
  /** Events; null = as fast as Kafka takes them. */
  readonly perSecond: number | null
}

/** Limited runs begin here by default: the sample's model was trained on January to March. */
const LIMITED_FROM = '2013-03-15'

export const USAGE = `replay: writes the data of a pipeline folder to the pipeline's topics, in order of event time

  --pipeline <folder>  by default MILLRACE_PIPELINE; its data/ holds events.avro, labels.avro and tables/<table>.avro
  --from <date>        first event, UTC; by default the first there is, with --limit ${LIMITED_FROM}
  --limit <n>          number of events
  --rate <n>|max       events per second, by default max

A second replay writes everything again, as new records.

${describeVariables({ ...REPLAY, logLevel: STAGE.logLevel, ...CONNECTIONS }).join('\n')}
`

/** Null when help was asked for. Throws `invalid_config` (crash). */
export function readOptions(args: readonly string[]): ReplayOptions | null {
  const given = parse(args)
  if (given.help === true) return null
  const limit = given.limit === undefined ? Number.POSITIVE_INFINITY : positive('--limit', given.limit)
  const from = given.from ?? (given.limit === undefined ? null : LIMITED_FROM)
  return {
    folder: given.pipeline ?? null,
    from: from === null ? null : date(from),
    limit,
    perSecond: given.rate === undefined || given.rate === 'max' ? null : positive('--rate', given.rate),
  }
}

function parse(args: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        pipeline: { type: 'string' },
        from: { type: 'string' },
        limit: { type: 'string' },
        rate: { type: 'string' },
        help: { type: 'boolean' },
      },
    })
    return values
  } catch (error) {
    throw fatal('invalid_config', (error as Error).message, error)
  }
}

function positive(flag: string, text: string): number {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value > 0) return value
  throw fatal('invalid_config', `${flag} ${text}: must be a whole number above 0`)
}

function date(text: string): number {
  const time = Date.parse(text)
  if (!Number.isNaN(time) && /^\d{4}-\d{2}-\d{2}/.test(text)) return time
  throw fatal('invalid_config', `--from ${text}: must be a date like 2013-03-15, or a time like 2013-03-15T06:00:00Z`)
}
