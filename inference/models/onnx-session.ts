import { InferenceSession, Tensor } from 'onnxruntime-node'

/** One dimension of a tensor: its size, or the name of a size that varies. */
export type Dimension = number | string

export interface TensorInfo {
  readonly name: string
  /** Null when it is no tensor (a sequence of maps, as ZipMap makes). */
  readonly tensor: { readonly type: string; readonly shape: readonly Dimension[] } | null
}

/**
 * A loaded model. `run` blocks the thread: the binding has no other way. One thread per session, so that a row's outputs
 * are the same bits in every batch; processes scale instead.
 */
export interface OnnxSession {
  readonly inputs: readonly TensorInfo[]
  readonly outputs: readonly TensorInfo[]
  /**
   * `rows` is [count, width] float32, row by row; answers the output of that name, row by row. The rows are read after
   * the call: leave them alone until the promise settles. Rejects with the runtime's own error.
   */
  run(input: string, rows: Float32Array, width: number, output: string): Promise<Float32Array>
  /** No run may be under way. */
  release(): Promise<void>
}

/** The memory arena keeps the largest batch's memory for ever; without it variable batches cost nothing more. */
const OPTIONS: InferenceSession.SessionOptions = {
  executionProviders: ['cpu'],
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  executionMode: 'sequential',
  enableCpuMemArena: false,
  enableMemPattern: false,
  logSeverityLevel: 4,
}

/** From the bytes of a verified model file. Rejects with the runtime's own error when they are no model. */
export async function createOnnxSession(model: Buffer): Promise<OnnxSession> {
  const session = await InferenceSession.create(model, OPTIONS)
  return {
    inputs: session.inputMetadata.map(tensorInfo),
    outputs: session.outputMetadata.map(tensorInfo),
    async run(input, rows, width, output) {
      const feeds = { [input]: new Tensor('float32', rows, [rows.length / width, width]) }
      const results = await session.run(feeds, [output], { logSeverityLevel: 4 })
      const data = results[output]?.data
      if (!(data instanceof Float32Array)) throw new TypeError(`output ${output} is no float32 tensor`)
      return data
    },
    release: () => session.release(),
  }
}

function tensorInfo(metadata: InferenceSession.ValueMetadata): TensorInfo {
  const { name } = metadata
  return { name, tensor: metadata.isTensor ? { type: metadata.type, shape: metadata.shape } : null }
}
