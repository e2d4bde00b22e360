import { setTimeout as delay } from 'node:timers/promises'
import { promote } from '../../../inference/commands/rollout-promote.ts'
import { waitForVerdict } from '../../../inference/commands/rollout-wait.ts'
import { systemClock } from '../../../infra/runtime/clock.ts'
import type { ControlLog } from '../../../infra/runtime/control/control-log.ts'
import { describeError } from '../../../infra/runtime/errors.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { BY, pushVersion } from './registered.ts'
import type { SwapVersions } from './versions.ts'

export type Failure = 'refused' | 'damaged' | 'wrong'
const FAILURES: readonly Failure[] = ['refused', 'damaged', 'wrong']

const DEADLINE_MS = 30_000
/** Of what cannot be loaded. */
const FAILING_DEADLINE_MS = 1_000
/** Of a phase, until what was before it is over. */
const EDGE_MS = 500

export interface SwapPlan {
  readonly swaps: number
  /** Every so many swaps is one that must fail. */
  readonly failEvery: number
  /** So many swaps, then no swap for so long. */
  readonly round: { readonly swaps: number; readonly quietMs: number }
}

/** Epoch ms. */
export interface Phase {
  readonly kind: 'quiet' | 'swapping'
  readonly from: number
  readonly to: number
}

export interface Swapped {
  readonly activated: number
  readonly failures: Record<Failure, number>
  readonly unexpected: readonly string[]
  readonly swapMs: readonly number[]
  readonly phases: readonly Phase[]
}

/** Has each good version serve once, then swaps. */
export async function swapAll(
  { swaps, failEvery, round }: SwapPlan,
  deps: {
    readonly pipeline: CompiledPipeline
    readonly control: ControlLog
    readonly versions: SwapVersions
    readonly store: string
    /** Each version has served. */
    began(): void
    readonly say: (line: string) => void
  },
): Promise<Swapped> {
  const { pipeline, control, versions, store, began, say } = deps
  const { good, wrong, damaged, refused } = versions
  const model = pipeline.model.name
  const failures = { refused: 0, damaged: 0, wrong: 0 }
  const unexpected: string[] = []
  const swapMs: number[] = []
  const phases: Phase[] = []
  let activated = 0

  async function propose(version: string, deadlineMs: number): Promise<string> {
    const terms = { model, version, role: { as: 'production' }, deadlineMs, guarded: true, bundled: false } as const
    const epoch = await promote(control, { ...terms, ...BY }, Date.now())
    return (await waitForVerdict(control, model, epoch, systemClock, BY)).end
  }

  async function swapIn(version: string): Promise<void> {
    const since = performance.now()
    const end = await propose(version, DEADLINE_MS)
    if (end !== 'activated') unexpected.push(`${version}: ${end}`)
    activated++
    swapMs.push(performance.now() - since)
  }

  /** Each way of failing in turn. */
  async function fail(failure: Failure): Promise<void> {
    failures[failure]++
    if (failure !== 'refused') {
      const end = await propose(failure === 'wrong' ? wrong.version : damaged.version, FAILING_DEADLINE_MS)
      if (end !== 'stalled') unexpected.push(`${failure}: ${end}`)
      return
    }
    const attempts = [
      () => pushVersion(control, pipeline.folder, refused.folder, store),
      () => propose(refused.version, 0),
    ]
    for (const attempt of attempts) {
      const code = await attempt().then(
        () => 'nothing',
        (error: unknown) => describeError(error).code,
      )
      if (code !== 'model_refused' && code !== 'unknown_version') unexpected.push(`${failure}: ${code}`)
    }
  }

  async function phase(kind: Phase['kind'], work: () => Promise<unknown>): Promise<void> {
    const from = Date.now() + EDGE_MS
    await work()
    phases.push({ kind, from, to: Date.now() })
  }

  // each version once, so that everything has been loaded before
  for (const { version } of good) await swapIn(version)
  swapMs.length = 0
  began()
  for (let swap = 0; swap < swaps; ) {
    await phase('quiet', () => delay(round.quietMs))
    await phase('swapping', async () => {
      for (const end = Math.min(swaps, swap + round.swaps); swap < end; swap++) {
        const isFailing = swap % failEvery === failEvery - 1
        if (isFailing) await fail(FAILURES[Math.floor(swap / failEvery) % FAILURES.length] as Failure)
        else await swapIn((good[activated % good.length] as (typeof good)[number]).version)
      }
    })
    say(`${swap} swaps: ${activated} activated, ${JSON.stringify(failures)} failed`)
  }
  await phase('quiet', () => delay(round.quietMs))
  return { activated, failures, unexpected, swapMs, phases }
}
