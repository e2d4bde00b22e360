import { fatal } from '../../../infra/runtime/errors.ts'
import type { Logger } from '../../../infra/runtime/telemetry/logger.ts'
import type { CompiledModelChoice } from '../../../schemas/pipeline/compiled.ts'
import type { Provider } from '../run-rows.ts'

const TO_INSTALL =
  'it needs an NVIDIA driver, the CUDA 12 libraries, cuDNN 9, and onnxruntime-node installed with --onnxruntime-node-install=cuda12'

/**
 * Where a model runs, the preferred provider first; called once, at the start. Rejects with `provider_missing` (crash) when
 * the model requires one that is not there. When it only prefers it, the CPU serves, predictions say so, and so does a
 * warning.
 */
export async function chooseProviders(
  choice: Pick<CompiledModelChoice, 'name' | 'provider'>,
  isThere: (provider: Provider) => Promise<boolean>,
  logger: Logger,
): Promise<readonly Provider[]> {
  const { name: provider, demand } = choice.provider
  if (provider === 'cpu') return ['cpu']
  if (await isThere(provider)) return demand === 'require' ? [provider] : [provider, 'cpu']
  const message = `model ${choice.name}: the provider ${provider} is not there: ${TO_INSTALL}`
  if (demand === 'require') throw fatal('provider_missing', message)
  logger.warn({ code: 'provider_missing', model: choice.name, provider, instead: 'cpu' }, message)
  return ['cpu']
}
