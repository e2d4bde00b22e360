import type { Clock } from '../../../infra/runtime/clock.ts'
import { describeError, fatal, fateOf, MillraceError } from '../../../infra/runtime/errors.ts'
import type { Started } from '../../../infra/runtime/lifecycle/scope.ts'
import type { Logger } from '../../../infra/runtime/telemetry/logger.ts'
import type { CompiledModelChoice } from '../../../schemas/pipeline/compiled.ts'
import type { Provider } from '../run-rows.ts'

export interface ProviderDeps {
  /** Rejects with `retry` when that could not be found out. */
  isThere(provider: Provider): Promise<boolean>
  /** Makes it this process's own; answers how to give it back. Rejects with `retry` while it is another's. */
  own(provider: Provider): Promise<() => Promise<void>>
  readonly clock: Clock
  readonly logger: Logger
}

const TO_INSTALL =
  'it needs an NVIDIA driver, the CUDA 12 libraries, cuDNN 9, and onnxruntime-node installed with --onnxruntime-node-install=cuda12'

/** A preferred provider is tried so often: who had it may be about to end, the machine may be busy. */
const TRIES = 3
const PAUSE_MS = 1_000

/**
 * Where a model runs, the preferred provider first, as this process's own until it stops; called once, at the start. Of one
 * that is required, rejects with `provider_missing` (crash) when it is not there, and with `retry` while it cannot be tried or
 * is another process's. When it is only preferred and cannot be had, for whatever reason, the CPU serves until the process
 * starts again; predictions say so, and so does one warning.
 */
export async function takeProviders(
  choice: Pick<CompiledModelChoice, 'name' | 'provider'>,
  deps: ProviderDeps,
): Promise<Started<readonly Provider[]>> {
  const { name: provider, demand } = choice.provider
  const nothing = { value: ['cpu'], stop: async () => {} } as const
  if (provider === 'cpu') return nothing
  for (let attempt = 1; ; attempt++) {
    try {
      const stop = await take(choice.name, provider, deps)
      return { value: demand === 'require' ? [provider] : [provider, 'cpu'], stop }
    } catch (error) {
      if (demand === 'require' || !(error instanceof MillraceError)) throw error
      if (fateOf(error) === 'retry' && attempt < TRIES) {
        await deps.clock.sleep(PAUSE_MS)
        continue
      }
      const { code, message } = describeError(error)
      deps.logger.warn({ code, model: choice.name, provider, instead: 'cpu' }, message)
      return nothing
    }
  }
}

async function take(model: string, provider: Provider, { isThere, own }: ProviderDeps): Promise<() => Promise<void>> {
  if (await isThere(provider)) return await own(provider)
  throw fatal('provider_missing', `model ${model}: the provider ${provider} is not there: ${TO_INSTALL}`)
}
