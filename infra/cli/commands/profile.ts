import { userInfo } from 'node:os'
import { type Command, InvalidArgumentError } from 'commander'
import type { ProfileEntry, ReferenceProfile, SubjectProfile } from '../../../schemas/control/profiles.ts'
import type { ControlLog } from '../../runtime/control/control-log.ts'
import { fatal } from '../../runtime/errors.ts'
import { withControlLog } from '../control-log.ts'
import { loadStageModule } from '../stage-module.ts'

/** As sinks/commands/profile-*.ts export them. */
interface By {
  readonly actor: string
  readonly reason: string
}
interface CreateModule {
  createProfile(
    control: ControlLog,
    options: By & {
      readonly folder: string
      readonly name: string | null
      readonly reference:
        | { readonly from: number; readonly to: number; readonly modelVersion: string | null }
        | {
            readonly file: string
            readonly score: string | null
            readonly label: string | null
            readonly segment: string | null
            readonly time: string | null
          }
    },
    env: NodeJS.ProcessEnv,
  ): Promise<{ readonly entry: ProfileEntry; readonly isNew: boolean }>
}
interface Listed extends By {
  readonly entry: ProfileEntry
  readonly at: number
}
interface ChangeModule {
  accept(control: ControlLog, name: string, by: By): Promise<readonly string[] | null>
  listProfiles(control: ControlLog, pipeline: string | null): readonly Listed[]
  showProfile(control: ControlLog, name: string): Listed & { readonly labels: readonly (readonly string[])[] }
}
interface CreateFlags extends By {
  readonly from?: number
  readonly to?: number
  readonly modelVersion?: string
  readonly file?: string
  readonly score?: string
  readonly label?: string
  readonly segment?: string
  readonly time?: string
  readonly name?: string
  readonly accept?: true
}

const DIGEST_SHOWN = 12
const TOP_SHOWN = 3
const HOUR_MS = 3_600_000
const DAY_HOURS = 24

const changes = (): Promise<ChangeModule> => loadStageModule<ChangeModule>('sinks/commands/profile-change')

export function register(program: Command): void {
  const profile = program.command('profile').description('say what features and scores are compared with')

  signed(profile.command('create'))
    .description(
      'freeze a reference and propose it: a window of predictions, a file of rows, or a profile that was shown',
    )
    .argument('<pipeline>', 'pipeline folder')
    .option('--from <time>', 'predictions of events from then on (ISO 8601)', time)
    .option('--to <time>', 'predictions of events before (ISO 8601)', time)
    .option('--model-version <version>', 'only predictions of this version')
    .option('--file <file>', 'rows (.parquet, .avro) with columns named like the features, or a profile (.json)')
    .option('--score <column>', 'of the file, with the score')
    .option('--label <column>', 'of the file, with the truth')
    .option('--segment <column>', 'of the file, with the segment')
    .option('--time <column>', 'of the file, with the time of the event: how its own windows differ is no drift')
    .option('--name <profile>', 'its name (default: the next number)')
    .option('--accept', 'accept it at once')
    .action(async (folder: string, flags: CreateFlags) => {
      const { createProfile } = await loadStageModule<CreateModule>('sinks/commands/profile-create')
      const { actor, reason, name = null } = flags
      const options = { folder, name, reference: referenceOf(flags), actor, reason }
      await withControlLog(async (log) => {
        const { entry, isNew } = await createProfile(log, options, process.env)
        const shown = `${nameOf(entry)}  ${entry.content.rows} rows, ${entry.digest.slice(0, DIGEST_SHOWN)}`
        console.log(isNew ? `proposed    ${shown}` : `is there already (${entry.state}): ${shown}`)
        if (flags.accept) await accept(log, nameOf(entry), { actor, reason })
      })
    })

  signed(profile.command('accept'))
    .description('compare with this profile from now on; the one before is superseded, and its scores stay')
    .argument('<profile>', '<pipeline>/<profile>, as list shows it')
    .action(async (name: string, by: By) => {
      const { actor, reason } = by
      await withControlLog((log) => accept(log, name, { actor, reason }))
    })

  profile
    .command('list')
    .description('show the profiles that there are, those that changed last at the end')
    .argument('[pipeline]', 'only of this pipeline')
    .option('--json', 'print one JSON object per line, without the content', false)
    .action(async (pipeline: string | undefined, { json }: { json: boolean }) => {
      const { listProfiles } = await changes()
      await withControlLog(async (log) => {
        const profiles = listProfiles(log, pipeline ?? null)
        if (profiles.length === 0 && !json) console.log('there are no profiles')
        for (const listed of profiles) console.log(json ? JSON.stringify(withoutContent(listed)) : line(listed))
      })
    })

  profile
    .command('show')
    .description('show one profile: what each feature and the score had')
    .argument('<profile>', '<pipeline>/<profile>, as list shows it')
    .option('--json', 'print the whole profile as JSON, which create takes as a file', false)
    .action(async (name: string, { json }: { json: boolean }) => {
      const { showProfile } = await changes()
      await withControlLog(async (log) => {
        const shown = showProfile(log, name)
        if (json) console.log(JSON.stringify(shown.entry))
        else for (const text of linesOf(shown)) console.log(text)
      })
    })
}

async function accept(log: ControlLog, name: string, by: By): Promise<void> {
  const superseded = await (await changes()).accept(log, name, by)
  if (superseded === null) console.log(`${name} is accepted already`)
  else console.log(`accepted    ${name}${superseded.length === 0 ? '' : `, superseded ${superseded.join(', ')}`}`)
}

function referenceOf(flags: CreateFlags): Parameters<CreateModule['createProfile']>[1]['reference'] {
  const { from, to, file, modelVersion, score, label, segment, time: at } = flags
  const ofFile = [score, label, segment, at].some((column) => column !== undefined)
  const ofWindow = [from, to, modelVersion].some((each) => each !== undefined)
  if (file !== undefined && ofWindow) throw fatal('invalid_option', '--from, --to, --model-version are of predictions')
  if (file !== undefined) {
    return { file, score: score ?? null, label: label ?? null, segment: segment ?? null, time: at ?? null }
  }
  if (ofFile) throw fatal('invalid_option', '--score, --label, --segment, --time are of a --file')
  if (from === undefined || to === undefined || from >= to) {
    throw fatal('invalid_option', 'either --file or --from and a later --to is needed')
  }
  return { from, to, modelVersion: modelVersion ?? null }
}

function signed(command: Command): Command {
  return command
    .option('--actor <name>', 'who does it, for the control log', userInfo().username)
    .option('--reason <text>', 'why, for the control log', '')
}

function time(text: string): number {
  const at = Date.parse(text)
  if (Number.isNaN(at)) throw new InvalidArgumentError('a time such as 2026-01-31 or 2026-01-31T12:00:00Z is expected')
  return at
}

function nameOf({ pipeline, profile }: ProfileEntry): string {
  return `${pipeline}/${profile}`
}

function withoutContent({ entry: { content, ...entry }, ...listed }: Listed): object {
  const { rows, model, featureSet, source } = content
  return { ...listed, entry: { ...entry, rows, model, featureSet, source } }
}

function line({ entry, actor, at }: Listed): string {
  const { state, digest, content } = entry
  const source = sourceText(content.source).padEnd(30)
  const rows = `${content.rows} rows`.padStart(14)
  const name = nameOf(entry).padEnd(24)
  return `${name}  ${state.padEnd(10)}  ${digest.slice(0, DIGEST_SHOWN)}  ${rows}  ${source}  ${new Date(at).toISOString()}  ${actor}`
}

function sourceText(source: ReferenceProfile['source']): string {
  if (source.kind === 'file') return source.name
  const [from, to] = [source.from, source.to].map((at) => new Date(at).toISOString().replace('T00:00:00.000Z', ''))
  return `predictions ${from} to ${to}${source.modelVersion === null ? '' : ` of ${source.modelVersion}`}`
}

function linesOf({ entry, actor, reason, at, labels }: ReturnType<ChangeModule['showProfile']>): readonly string[] {
  const { state, digest, content } = entry
  const { subjects, segments, moments, calibration, rows } = content
  const width = Math.max(...subjects.map(({ name }) => name.length))
  return [
    `profile      ${nameOf(entry)}`,
    `state        ${state}`,
    `content      sha256 ${digest}`,
    `reference    ${sourceText(content.source)}, ${rows} rows`,
    `model        ${content.model}, feature set ${content.featureSet}`,
    `segments     ${segments?.map((each) => `${each.segment} (${each.rows})`).join(', ') || 'none'}`,
    `moments      ${moments === null ? 'none' : `of ${moments.positions.length} features`}`,
    `windows      ${windowsText(content.windows)}`,
    `calibration  ${calibration === null ? 'none: the reference has no labels' : `${calibration.scores.length} knots`}`,
    `by           ${actor} at ${new Date(at).toISOString()}${reason === '' ? '' : `: ${reason}`}`,
    ...subjects.map(
      (subject, index) => `  ${subject.name.padEnd(width)}  ${subjectText(subject, rows, labels[index] ?? [])}`,
    ),
  ]
}

function windowsText(windows: ReferenceProfile['windows']): string {
  if (windows == null) return 'none: nothing is known of how the reference itself varies'
  const hours = windows.windowMs / HOUR_MS
  return `of ${hours < DAY_HOURS ? `${hours} h` : `${hours / DAY_HOURS} d`}, with at least ${windows.minRows} rows`
}

function subjectText(subject: SubjectProfile, rows: number, labels: readonly string[]): string {
  const { counts, mean, std, min, max } = subject
  const percent = (count: number): string => `${((100 * count) / rows).toFixed(1)}%`
  const missing = `missing ${percent(counts.at(-1) ?? 0).padStart(6)}`
  if (min === null || max === null) return missing
  if (subject.kind === 'values') {
    const top = labels.slice(0, Math.min(TOP_SHOWN, subject.values.length))
    const shown = top.map((label, index) => `${label} ${percent(counts[index] ?? 0)}`)
    return `${missing}  ${subject.values.length + subject.others.length} values: ${shown.join(', ')}${top.length < subject.values.length ? ', …' : ''}`
  }
  const [low, high] = [subject.lo, subject.lo + subject.bins * subject.width]
  const text = (value: number): string => String(Number(value.toPrecision(4)))
  return `${missing}  mean ${text(mean)}, std ${text(std)}, ${subject.bins} bins from ${text(low)} to ${text(high)} (${text(min)} to ${text(max)})`
}
