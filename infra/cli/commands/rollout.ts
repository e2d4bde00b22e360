import { hostname, userInfo } from 'node:os'
import { type Command, InvalidArgumentError } from 'commander'
import { systemClock } from '../../runtime/clock.ts'
import type { ControlLog } from '../../runtime/control/control-log.ts'
import { fatal } from '../../runtime/errors.ts'
import { withControlLog } from '../control-log.ts'
import { loadStageModule } from '../stage-module.ts'

/** As inference/commands/rollout-*.ts export them. */
interface PromoteModule {
  promote(control: ControlLog, promotion: Promotion, now: number): Promise<number>
}
interface ChangeModule {
  change(control: ControlLog, model: string, step: Step, by: By): Promise<string>
  standing(control: ControlLog, model: string): string
}
interface WaitModule {
  waitForVerdict(
    control: ControlLog,
    model: string,
    epoch: number,
    clock: typeof systemClock,
    by: By,
  ): Promise<{ readonly end: 'activated' | 'stalled' | 'rolled_back'; readonly evidence: object | null }>
}

interface By {
  readonly actor: string
  readonly reason: string
}
interface Promotion extends By {
  readonly model: string
  readonly version: string
  readonly role:
    | { readonly as: 'production' }
    | { readonly as: 'candidate'; readonly weight: number }
    | { readonly as: 'shadow'; readonly share: number }
  readonly deadlineMs: number
  readonly guarded: boolean
  readonly bundled: boolean
}
type Step = { readonly to: 'rollback' | 'pause' | 'resume' } | { readonly to: 'weight'; readonly weight: number }

interface PromoteOptions extends ByOptions {
  readonly candidate?: true
  readonly weight?: number
  readonly shadow?: true
  readonly share?: number
  readonly wait?: true
  readonly deadline: number
  readonly guards: boolean
  readonly bundled?: true
}
interface ByOptions {
  readonly actor: string
  readonly reason: string
}

/** Exit status of `--wait`; 0 = activated, 1 = the command failed. */
const EXIT = { activated: 0, stalled: 2, rolled_back: 3 }
const DEFAULT_SHARE = 1_000

/** Adds promote, rollback, pause, resume and weight to `millrace model`. */
export function registerRollout(model: Command): void {
  withBy(
    model
      .command('promote')
      .description('let a version answer: all of it, as candidate for a share of entities, or as shadow beside')
      .argument('<model/version>', 'e.g. flight-delay/2', modelVersion)
      .option('--candidate', 'answers a share of entities; production answers the rest')
      .option('--weight <share>', 'of a candidate, e.g. 10% (default)', percent)
      .option('--shadow', 'scores a share of entities beside production and answers none')
      .option('--share <share>', 'of a shadow, e.g. 10% (default)', percent)
      .option('--wait', 'until it is decided: status 0 activated, 2 stalled, 3 rolled back')
      .option('--deadline <time>', 'for every process to have it loaded, e.g. 60s', duration, 60_000)
      .option('--no-guards', 'nothing rolls it back by itself')
      .option('--bundled', 'the version is a folder beside the pipeline, not in the registry'),
  ).action(async ([name, version]: ModelVersion, options: PromoteOptions) => {
    await withControlLog((log) => promote(log, { name, version }, options))
  })
  const plain = [
    ['rollback', 'withdraw a proposal that waits, else return to what served before'],
    ['pause', 'let the candidate answer nothing; its weight is kept'],
    ['resume', 'let the candidate answer its share again'],
  ] as const
  for (const [to, description] of plain) {
    withBy(model.command(to).description(description).argument('<model>')).action(async (name: string, by: ByOptions) =>
      change(name, { to }, by),
    )
  }
  withBy(
    model
      .command('weight')
      .description('change the share of entities that the candidate answers')
      .argument('<model>')
      .argument('<share>', 'e.g. 25%', percent),
  ).action(async (name: string, weight: number, by: ByOptions) => change(name, { to: 'weight', weight }, by))
}

async function promote(
  log: ControlLog,
  { name, version }: { readonly name: string; readonly version: string },
  options: PromoteOptions,
): Promise<void> {
  const { actor, reason, guards, deadline } = options
  const stages = await loadStageModule<PromoteModule>('inference/commands/rollout-promote')
  const { standing } = await loadStageModule<ChangeModule>('inference/commands/rollout-change')
  const promotion = { model: name, version, role: roleOf(options), deadlineMs: deadline, guarded: guards }
  const epoch = await stages.promote(
    log,
    { ...promotion, bundled: options.bundled === true, actor, reason },
    systemClock.now(),
  )
  console.log(standing(log, name))
  if (options.wait !== true) return
  const { waitForVerdict } = await loadStageModule<WaitModule>('inference/commands/rollout-wait')
  const { end, evidence } = await waitForVerdict(log, name, epoch, systemClock, { actor, reason })
  console.log(`${name}/${version}: ${end}${evidence === null ? '' : ` ${JSON.stringify(evidence)}`}`)
  process.exitCode = EXIT[end]
}

function roleOf({ candidate, weight, shadow, share }: PromoteOptions): Promotion['role'] {
  if (candidate && shadow) throw fatal('invalid_option', 'a version is candidate or shadow, not both')
  if (weight !== undefined && !candidate) throw fatal('invalid_option', '--weight is of a --candidate')
  if (share !== undefined && !shadow) throw fatal('invalid_option', '--share is of a --shadow')
  if (candidate) return { as: 'candidate', weight: weight ?? DEFAULT_SHARE }
  return shadow ? { as: 'shadow', share: share ?? DEFAULT_SHARE } : { as: 'production' }
}

async function change(name: string, step: Step, { actor, reason }: ByOptions): Promise<void> {
  const stages = await loadStageModule<ChangeModule>('inference/commands/rollout-change')
  console.log(await withControlLog((log) => stages.change(log, name, step, { actor, reason })))
}

function withBy(command: Command): Command {
  return command
    .option('--actor <name>', 'who does it, for the log', `${userInfo().username}@${hostname()}`)
    .option('--reason <text>', 'why, for the log', '')
}

type ModelVersion = readonly [model: string, version: string]

function modelVersion(text: string): ModelVersion {
  const [name = '', version = '', ...rest] = text.split('/')
  if (name === '' || version === '' || rest.length > 0) throw new InvalidArgumentError('must be <model>/<version>.')
  return [name, version]
}

/** Of 10,000. */
function percent(text: string): number {
  const match = /^(\d{1,3}(?:\.\d{1,2})?)%$/.exec(text)
  const share = match === null ? Number.NaN : Math.round(Number(match[1]) * 100)
  if (!(share <= 10_000)) throw new InvalidArgumentError('must be a share from 0% to 100%, e.g. 10% or 0.5%.')
  return share
}

function duration(text: string): number {
  const match = /^(\d{1,6})(ms|s|m)$/.exec(text)
  if (match === null) throw new InvalidArgumentError('must be a time, e.g. 500ms, 60s or 5m.')
  return Number(match[1]) * { ms: 1, s: 1_000, m: 60_000 }[match[2] as 'ms' | 's' | 'm']
}
