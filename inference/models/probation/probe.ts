import { fork } from 'node:child_process'
import { extname, join } from 'node:path'
import { describeError } from '../../../infra/runtime/errors.ts'
import type { ModelProfile } from '../../../schemas/control/models.ts'
import { childEnvironment } from '../../execution/child-environment.ts'
import { processUsage } from '../../execution/process-usage.ts'
import type { Provider } from '../../execution/run-rows.ts'
import {
  type Answers,
  type Candidate,
  DEFAULT_LIMITS,
  PROBATION_STEPS,
  type ProbationCode,
  type ProbationLimits,
  type ProbationMessage,
  type ProbationRefusal,
  type ProbationReport,
  type ProbationStep,
} from './probation.ts'

/** Tries versions out, one after the other, in a child process that is thrown away when it dies and at the end. */
export interface Probation {
  /** One at a time. What the candidate does to the child is in the report; rejects only when no child can be started. */
  judge(folder: string, provider?: Provider): Promise<ProbationReport>
  /** Once. */
  close(): Promise<void>
}

/** The libraries of a GPU alone take so much. */
const GPU_BYTES = 6_442_450_944
const WATCH_MS = 20

/**
 * Tries a version out before it may serve: its files, its structure, then what it does when it is loaded and run, within
 * limits of memory and time. A GPU, where there is one, is only measured: what fails on it is a remark, for the CPU serves.
 */
export async function probe(folder: string, limits: ProbationLimits = DEFAULT_LIMITS): Promise<ProbationReport> {
  const report = await judgeOnce(folder, 'cpu', limits)
  if (report.refusal !== null) return report
  const onGpu = await judgeOnce(folder, 'cuda', { ...limits, memoryBytes: limits.memoryBytes + GPU_BYTES })
  const { refusal, profiles } = onGpu
  const missing = refusal === null || refusal.code === 'provider_missing'
  const remarks = missing ? [] : [`it does not run on the GPU (${refusal.step}): ${refusal.message}`]
  return { ...report, profiles: [...report.profiles, ...profiles], remarks: [...report.remarks, ...remarks] }
}

async function judgeOnce(folder: string, provider: Provider, limits: ProbationLimits): Promise<ProbationReport> {
  const probation = createProbation(limits)
  try {
    return await probation.judge(folder, provider)
  } finally {
    await probation.close()
  }
}

/** What a version answers to its golden rows, of which its manifest must only give the features. */
export async function answerGolden(
  folder: string,
  limits: ProbationLimits = DEFAULT_LIMITS,
): Promise<{ readonly refusal: ProbationRefusal | null; readonly answers: Answers }> {
  const child = startChild()
  try {
    const answers: Answers[] = []
    const { refusal } = await child.judge({ folder, provider: 'cpu', limits, answerOnly: true }, (outputs) =>
      answers.push(outputs),
    )
    return { refusal, answers: answers[0] ?? [] }
  } finally {
    await child.kill()
  }
}

/** Starts no child yet. */
export function createProbation(limits: ProbationLimits = DEFAULT_LIMITS): Probation {
  let child: ProbationChild | null = null

  return {
    async judge(folder, provider = 'cpu') {
      if (child === null || !child.isAlive()) child = startChild()
      return await child.judge({ folder, provider, limits, answerOnly: false })
    },
    async close() {
      await child?.kill()
    },
  }
}

interface ProbationChild {
  isAlive(): boolean
  judge(candidate: Candidate, answered?: (outputs: Answers) => void): Promise<ProbationReport>
  kill(): Promise<void>
}

const EXTENSION = extname(import.meta.filename)
const CHILD = join(import.meta.dirname, `probation-child${EXTENSION}`)
/** So that a checkout runs its sources. */
const FLAGS = EXTENSION === '.ts' ? ['--conditions=millrace-source'] : []

function startChild(): ProbationChild {
  const child = fork(CHILD, {
    execArgv: FLAGS,
    env: childEnvironment(process.env),
    // the fifth is what its lifeline reads: it ends when this process does
    stdio: ['ignore', 'ignore', 'ignore', 'ipc', 'pipe'],
    serialization: 'advanced',
  })
  const gone = Promise.withResolvers<string>()
  const failure = Promise.withResolvers<never>()
  failure.promise.catch(() => undefined)
  let isAlive = true
  child.on('error', (error) => {
    isAlive = child.pid !== undefined && isAlive
    failure.reject(error)
  })
  child.on('exit', (code, signal) => {
    isAlive = false
    gone.resolve(signal === null ? `ended with ${code}` : `was ended by ${signal}`)
  })
  // a pipe breaks when the child dies, which says more
  child.stdio[4]?.on('error', () => undefined)

  return {
    isAlive: () => isAlive && child.connected,
    judge: (candidate, answered) => Promise.race([judge(candidate, answered), failure.promise]),
    async kill() {
      child.kill('SIGKILL')
      if (child.pid !== undefined) await gone.promise
    },
  }

  async function judge(candidate: Candidate, answered?: (outputs: Answers) => void): Promise<ProbationReport> {
    const { memoryBytes, timeMs } = candidate.limits
    const remarks: string[] = []
    let step: ProbationStep = 'files'
    const { promise, resolve } = Promise.withResolvers<ProbationReport>()
    const refused = (code: ProbationCode, message: string): void => {
      const passed = PROBATION_STEPS.slice(0, PROBATION_STEPS.indexOf(step))
      resolve({ passed, refusal: { step, code, message }, remarks, profiles: [] })
    }
    const hear = (message: ProbationMessage): void => {
      if (message.kind === 'began') step = message.step
      else if (message.kind === 'remark') remarks.push(message.text)
      else if (message.kind === 'answered') answered?.(message.outputs)
      else if (message.kind === 'failed') refused('crashed', message.message)
      else if (message.refusal !== null) refused(message.refusal.code, message.refusal.message)
      else resolve({ passed: PROBATION_STEPS, refusal: null, remarks, profiles: profilesOf(message.profile) })
    }
    const kill = (code: ProbationCode, message: string): void => {
      refused(code, message)
      child.kill('SIGKILL')
    }
    const late = setTimeout(() => kill('timed_out', `it was not through within ${timeMs} ms`), timeMs)
    const watch = setInterval(() => {
      residentBytes(child.pid).then(
        (bytes) => {
          if (bytes > memoryBytes)
            kill('out_of_memory', `it took ${toMb(bytes)} MB, ${toMb(memoryBytes)} MB are allowed`)
        },
        (error: unknown) => kill('crashed', `it cannot be watched: ${describeError(error).message}`),
      )
    }, WATCH_MS)
    child.on('message', hear)
    void gone.promise.then((how) => refused('crashed', `the process that tried it ${how}`))
    child.send(candidate)
    try {
      return await promise
    } finally {
      clearTimeout(late)
      clearInterval(watch)
      child.off('message', hear)
    }
  }
}

async function residentBytes(pid: number | undefined): Promise<number> {
  return pid === undefined ? 0 : ((await processUsage(pid))?.residentBytes ?? 0)
}

const profilesOf = (profile: ModelProfile | null): readonly ModelProfile[] => (profile === null ? [] : [profile])
const toMb = (bytes: number): number => Math.round(bytes / 2 ** 20)
