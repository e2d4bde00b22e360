import { userInfo } from 'node:os'
import { type Command, Option } from 'commander'
import type { ModelEntry, ModelProfile } from '../../../schemas/control/models.ts'
import type { ControlLog } from '../../runtime/control/control-log.ts'
import { withControlLog } from '../control-log.ts'
import { loadStageModule } from '../stage-module.ts'
import { registerRollout } from './rollout.ts'

/** As inference/commands/model-*.ts export them. */
interface Report {
  readonly passed: readonly string[]
  readonly remarks: readonly string[]
  readonly profiles: readonly ModelProfile[]
}
interface Allowed {
  readonly controlFlow: boolean
  readonly functions: boolean
}
interface By {
  readonly actor: string
  readonly reason: string
}
interface PushModule {
  push(
    control: ControlLog,
    options: By & {
      readonly source: string
      readonly pipeline: string
      readonly from: string | null
      readonly version: string | null
      readonly task: string | null
      readonly missing: string | null
      readonly golden: string | null
      readonly allowed: Allowed
    },
    env: NodeJS.ProcessEnv,
  ): Promise<{
    readonly name: string
    readonly entry: ModelEntry
    readonly report: Report | null
    readonly store: string
  }>
}
interface Listed extends By {
  readonly entry: ModelEntry
  readonly at: number
  readonly roles: readonly string[]
}
interface ListModule {
  listVersions(control: ControlLog, model: string | null): readonly Listed[]
  showVersion(
    control: ControlLog,
    name: string,
    env: NodeJS.ProcessEnv,
  ): Promise<Listed & { readonly manifest: Manifest; readonly store: string }>
}
type Manifest = Readonly<Record<string, unknown>> & {
  readonly input: { readonly features: readonly { readonly name: string; readonly type: string }[] }
  readonly output: Readonly<Record<string, unknown>>
  readonly golden: readonly unknown[]
}
interface VerifyModule {
  verifyVersion(control: ControlLog, name: string, allowed: Allowed, env: NodeJS.ProcessEnv): Promise<Report>
}
interface RetireModule {
  retireVersion(control: ControlLog, name: string, by: By): Promise<boolean>
}

interface RiskOptions {
  readonly allowControlFlow: boolean
  readonly allowFunctions: boolean
}

interface PushFlags extends RiskOptions, By {
  readonly pipeline: string
  readonly version?: string
  readonly import?: string
  readonly golden?: string
  readonly task?: string
  readonly missing?: string
}

const SOURCES = ['version', 'onnx', 'mlflow']
const TASKS = ['binary', 'multiclass', 'regression', 'multi-output']
const DIGEST_SHOWN = 12

export function register(program: Command): void {
  const model = program.command('model').description('register model versions, and say which of them serve')
  registerPush(model)

  model
    .command('list')
    .description('show the versions that are registered, and what each is in its rollout')
    .argument('[model]', 'only of this model')
    .option('--json', 'print one JSON object per line', false)
    .action(async (name: string | undefined, { json }: { json: boolean }) => {
      const { listVersions } = await loadStageModule<ListModule>('inference/commands/model-list')
      await withControlLog(async (control) => {
        const versions = listVersions(control, name ?? null)
        if (versions.length === 0 && !json) console.log('no versions are registered')
        for (const listed of versions) console.log(json ? JSON.stringify(listed) : line(listed))
      })
    })

  model
    .command('show')
    .description('show one version whole')
    .argument('<version>', '<model>/<version>, as list shows it')
    .option('--json', 'print one JSON object', false)
    .action(async (name: string, { json }: { json: boolean }) => {
      const { showVersion } = await loadStageModule<ListModule>('inference/commands/model-list')
      await withControlLog(async (control) => {
        const shown = await showVersion(control, name, process.env)
        if (json) console.log(JSON.stringify(shown))
        else for (const text of linesOf(shown)) console.log(text)
      })
    })

  risky(model.command('verify'))
    .description('fetch a version from the model store as a stage would, and try it out again')
    .argument('<version>', '<model>/<version>, as list shows it')
    .action(async (name: string, options: RiskOptions) => {
      const { verifyVersion } = await loadStageModule<VerifyModule>('inference/commands/model-verify')
      await withControlLog(async (control) => {
        for (const text of reportLines(name, await verifyVersion(control, name, allowed(options), process.env))) {
          console.log(text)
        }
      })
    })

  signed(model.command('retire'))
    .description('take a version out of service for good; refused while a rollout has a use for it')
    .argument('<version>', '<model>/<version>, as list shows it')
    .action(async (name: string, { actor, reason }: By) => {
      const { retireVersion } = await loadStageModule<RetireModule>('inference/commands/model-retire')
      await withControlLog(async (control) => {
        const changed = await retireVersion(control, name, { actor, reason })
        console.log(changed ? `retired  ${name}` : `${name} was retired before`)
      })
    })

  registerRollout(model)
}

function registerPush(model: Command): void {
  signed(risky(model.command('push')))
    .description('try a version out, store it and register it; safe to repeat')
    .argument('<source>', 'version folder (manifest.json), ONNX file or MLflow model directory')
    .requiredOption('--pipeline <folder>', 'pipeline that it is for')
    .option('--version <version>', 'its name (default: what the model says, else the next number)')
    .addOption(new Option('--import <kind>', 'what the source is (default: by what is there)').choices(SOURCES))
    .option('--golden <file>', 'rows (.csv, .json) that an imported model must go on answering')
    .addOption(new Option('--task <task>', 'of an imported model (default: by its outputs)').choices(TASKS))
    .addOption(
      new Option('--missing <policy>', 'whether an imported model takes missing values').choices(['nan', 'refuse']),
    )
    .action(async (source: string, flags: PushFlags) => {
      const { push } = await loadStageModule<PushModule>('inference/commands/model-push')
      await withControlLog(async (control) => {
        const { pipeline, actor, reason } = flags
        const { version = null, import: from = null, golden = null, task = null, missing = null } = flags
        const imported = { from, version, golden, task, missing, allowed: allowed(flags) }
        const pushed = await push(control, { source, pipeline, actor, reason, ...imported }, process.env)
        const { name, entry, report, store } = pushed
        if (report === null) {
          console.log(`${name} is registered already with this content (${entry.digest.slice(0, DIGEST_SHOWN)})`)
          return
        }
        for (const text of reportLines(name, report)) console.log(text)
        console.log(`stored      ${store}: ${entry.manifest}`)
        console.log(`registered  ${name}`)
      })
    })
}

function risky(command: Command): Command {
  return command
    .option('--allow-control-flow', 'accept loops and branches, which may run without end', false)
    .option('--allow-functions', 'accept functions that the model defines itself', false)
}

function signed(command: Command): Command {
  return command
    .option('--actor <name>', 'who does it, for the control log', userInfo().username)
    .option('--reason <text>', 'why, for the control log', '')
}

function allowed({ allowControlFlow, allowFunctions }: RiskOptions): Allowed {
  return { controlFlow: allowControlFlow, functions: allowFunctions }
}

function reportLines(name: string, { passed, remarks, profiles }: Report): readonly string[] {
  return [
    `${name}: ${passed.join(', ')}: passed`,
    ...profiles.map((profile) => `${name}: ${costText(profile)}`),
    ...remarks.map((remark) => `${name}: note: ${remark}`),
  ]
}

function costText({ provider, fixedUs, rowUs, tail }: ModelProfile): string {
  return `${provider} ${fixedUs} µs + ${rowUs} µs per row, p99/p50 ${tail}`
}

function line({ entry, roles, actor, at }: Listed): string {
  const { model, version, state, digest } = entry
  const what = [state, ...roles].join(', ')
  const when = new Date(at).toISOString()
  return `${`${model}/${version}`.padEnd(24)}  ${what.padEnd(20)}  ${digest.slice(0, DIGEST_SHOWN)}  ${when}  ${actor}`
}

function linesOf(shown: Listed & { readonly manifest: Manifest; readonly store: string }): readonly string[] {
  const { entry, roles, actor, reason, at, manifest, store } = shown
  const { input, output, golden } = manifest
  const features = input.features.map(({ name, type }) => (type === 'float32' ? name : `${name} (${type})`))
  return [
    `version      ${entry.model}/${entry.version}`,
    `state        ${[entry.state, ...roles].join(', ')}`,
    `model        sha256 ${entry.digest}`,
    `manifest     sha256 ${entry.manifest} in ${store}`,
    `feature set  ${entry.featureSet}: ${features.join(', ')}`,
    `output       ${JSON.stringify(output)}`,
    `golden rows  ${golden.length}`,
    ...entry.profiles.map((profile) => `cost         ${costText(profile)}`),
    `by           ${actor} at ${new Date(at).toISOString()}${reason === '' ? '' : `: ${reason}`}`,
  ]
}
