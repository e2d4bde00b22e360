import { Type } from 'typebox'
import type { PredictionView } from '../answers/answers.ts'
import { HttpProblem } from '../http/problem.ts'
import type { Inference } from './infer-request.ts'
import { binaryData, type OutputColumn } from './tensors.ts'

const tensor = {
  name: Type.String(),
  datatype: Type.Enum(['FP32', 'BYTES', 'BOOL']),
  shape: Type.Array(Type.Integer({ minimum: 0 })),
}

export const InferResponse = Type.Object(
  {
    id: Type.Optional(Type.String()),
    model_name: Type.String({ description: "The pipeline's name." }),
    model_version: Type.Optional(Type.String({ description: 'Left out when rows were scored by different versions.' })),
    parameters: Type.Optional(Type.Object({}, { additionalProperties: true })),
    outputs: Type.Array(
      Type.Object(
        {
          ...tensor,
          data: Type.Optional(
            Type.Array(Type.Unsafe<unknown>({ type: ['number', 'string', 'boolean', 'null'] }), {
              description: 'Flat, row by row; null: not a finite number, or no label.',
            }),
          ),
          parameters: Type.Optional(
            Type.Object({ binary_data_size: Type.Integer({ description: 'Its bytes behind the JSON.' }) }),
          ),
        },
        { title: 'OutputTensor' },
      ),
    ),
  },
  { title: 'InferResponse' },
)

/** What every inference can be asked for, as the model's metadata tells it; -1 = as many as there are. */
export const OUTPUTS = [
  { name: 'score', datatype: 'FP32', shape: [-1] },
  { name: 'label', datatype: 'BYTES', shape: [-1] },
  { name: 'outputs', datatype: 'FP32', shape: [-1, -1] },
  { name: 'request_id', datatype: 'BYTES', shape: [-1] },
  { name: 'event_id', datatype: 'BYTES', shape: [-1] },
  { name: 'model_version', datatype: 'BYTES', shape: [-1] },
  { name: 'answer', datatype: 'BYTES', shape: [-1] },
  { name: 'degraded', datatype: 'BOOL', shape: [-1] },
] as const

type OutputName = (typeof OUTPUTS)[number]['name']

/** Throws HttpProblem 400 when an output is asked for that there is not: to be called before anything is brought in. */
export function checkWanted({ wanted }: Inference): void {
  for (const { name } of wanted ?? []) {
    if (OUTPUTS.some((output) => output.name === name)) continue
    const detail = `there is no output ${JSON.stringify(name)}; there are ${OUTPUTS.map((output) => output.name).join(', ')}`
    throw new HttpProblem(400, 'invalid_inference_request', detail)
  }
}

export interface WrittenInference {
  readonly body: Buffer
  /** Length of the JSON part when binary tensors come behind it: Inference-Header-Content-Length. */
  readonly jsonBytes: number | null
}

/** Predictions by row, as the request wants them. */
export function writeInference(
  pipeline: string,
  inference: Inference,
  predictions: readonly PredictionView[],
): WrittenInference {
  const { id, wanted, binary } = inference
  const names = wanted ?? OUTPUTS.map(({ name }) => ({ name, binary }))
  const parts: Buffer[] = []
  const outputs = names.map((output) => {
    const column = columnOf(output.name as OutputName, predictions)
    const { name, datatype, shape } = column
    if (!output.binary) return { name, datatype, shape, data: column.data }
    const bytes = binaryData(column)
    parts.push(bytes)
    return { name, datatype, shape, parameters: { binary_data_size: bytes.length } }
  })
  const [first] = predictions
  const isOneVersion = predictions.every(({ model_version }) => model_version === first?.model_version)
  const json = Buffer.from(
    JSON.stringify({
      ...(id === undefined ? {} : { id }),
      model_name: pipeline,
      ...(isOneVersion ? { model_version: first?.model_version } : {}),
      parameters: { model: first?.model },
      outputs,
    }),
  )
  if (parts.length === 0) return { body: json, jsonBytes: null }
  return { body: Buffer.concat([json, ...parts]), jsonBytes: json.length }
}

function columnOf(name: OutputName, predictions: readonly PredictionView[]): OutputColumn {
  const shape = [predictions.length]
  switch (name) {
    case 'score':
      return { name, datatype: 'FP32', shape, data: predictions.map(({ score }) => score) }
    case 'outputs': {
      // versions, and fallbacks, may differ in how many they have
      const width = Math.max(0, ...predictions.map(({ outputs }) => outputs.length))
      const data = predictions.flatMap(({ outputs }) =>
        Array.from({ length: width }, (_, index) => outputs[index] ?? null),
      )
      return { name, datatype: 'FP32', shape: [predictions.length, width], data }
    }
    case 'degraded':
      return { name, datatype: 'BOOL', shape, data: predictions.map(({ degraded }) => degraded) }
    case 'label':
    case 'request_id':
    case 'event_id':
    case 'model_version':
    case 'answer':
      return { name, datatype: 'BYTES', shape, data: predictions.map((prediction) => prediction[name]) }
  }
}
