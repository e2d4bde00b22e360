import { InferenceSession, listSupportedBackends, Tensor } from 'onnxruntime-node'
import { describeError, fatal } from '../../infra/runtime/errors.ts'
import type { Provider } from '../execution/run-rows.ts'

/** One dimension of a tensor: its size, or the name of a size that varies. */
export type Dimension = number | string

export interface TensorInfo {
  readonly name: string
  /** Null when it is no tensor (a sequence of maps, as ZipMap makes). */
  readonly tensor: { readonly type: string; readonly shape: readonly Dimension[] } | null
}

/** What one input is given. */
export interface Feed {
  readonly name: string
  readonly data: Float32Array | BigInt64Array
  readonly shape: readonly number[]
}

export type TensorData = Tensor.DataTypeMap[Tensor.Type]

/**
 * A loaded model. `run` blocks the thread: the binding has no other way. One thread per session, so that a row's outputs
 * are the same bits in every batch; processes scale instead.
 */
export interface OnnxSession {
  readonly inputs: readonly TensorInfo[]
  readonly outputs: readonly TensorInfo[]
  /**
   * Answers the outputs of those names, in their order, each row by row. What is fed is read after the call: leave it alone
   * until the promise settles. Rejects with the runtime's own error.
   */
  run(feeds: readonly Feed[], outputs: readonly string[]): Promise<readonly TensorData[]>
  /** No run may be under way. */
  release(): Promise<void>
}

/** The memory arena keeps the largest batch's memory for ever; without it variable batches cost nothing more. */
const OPTIONS: InferenceSession.SessionOptions = {
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  executionMode: 'sequential',
  enableCpuMemArena: false,
  enableMemPattern: false,
  logSeverityLevel: 4,
}

/**
 * From the bytes of a verified model file, or from its path when it has external data. Rejects with `provider_missing`
 * (crash) when nothing can run on that provider here, else with the runtime's own error: it cannot load this model.
 */
export async function createOnnxSession(model: Buffer | string, provider: Provider): Promise<OnnxSession> {
  const session = await create(model, provider)
  return {
    inputs: session.inputMetadata.map(tensorInfo),
    outputs: session.outputMetadata.map(tensorInfo),
    async run(feeds, outputs) {
      const tensors: Record<string, Tensor> = {}
      for (const { name, data, shape } of feeds) {
        tensors[name] =
          data instanceof Float32Array ? new Tensor('float32', data, shape) : new Tensor('int64', data, shape)
      }
      const results = await session.run(tensors, outputs)
      return outputs.map((name) => {
        const data = results[name]?.data
        if (data === undefined) throw new TypeError(`there is no output ${name}`)
        return data
      })
    },
    release: () => session.release(),
  }
}

/** Whether a run failed for want of memory. The runtime says it in words only: on the CPU, and on a GPU. */
export function isAllocationFailure(error: unknown): boolean {
  return /bad_alloc|allocation failed|failed to allocate memory|out of memory/i.test(describeError(error).message)
}

async function create(model: Buffer | string, provider: Provider): Promise<InferenceSession> {
  const options = { ...OPTIONS, executionProviders: [provider] }
  // the binding drops a provider that it has never heard of, and runs on the CPU
  if (!listSupportedBackends().some(({ name }) => name === provider)) {
    throw fatal('provider_missing', `ONNX Runtime has no provider ${provider} on ${process.platform}-${process.arch}`)
  }
  try {
    return typeof model === 'string'
      ? await InferenceSession.create(model, options)
      : await InferenceSession.create(model, options)
  } catch (error) {
    if (provider !== 'cpu') await requireProvider(provider, options)
    throw error
  }
}

/** One Identity node, [N, 1] to [N, 1]. */
const SMALLEST_MODEL = Buffer.from(
  'CAgSCG1pbGxyYWNlOkUKEAoBeBIBeSIISWRlbnRpdHkSBWJlbmNoWhQKAXgSDwoNCAESCQoDEgFOCgIIAWIUCgF5Eg8KDQgBEgkKAxIBTgoCCAFCBAoAEA9CDgoKYWkub25ueC5tbBAD',
  'base64',
)

async function requireProvider(provider: Provider, options: InferenceSession.SessionOptions): Promise<void> {
  try {
    await (await InferenceSession.create(SMALLEST_MODEL, options)).release()
  } catch (error) {
    const message = `nothing can run on ${provider} here: ${describeError(error).message}`
    throw fatal('provider_missing', message, error)
  }
}

function tensorInfo(metadata: InferenceSession.ValueMetadata): TensorInfo {
  const { name } = metadata
  return { name, tensor: metadata.isTensor ? { type: metadata.type, shape: metadata.shape } : null }
}
