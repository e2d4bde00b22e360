import { type Static, Type } from 'typebox'
import { Compile } from 'typebox/compile'
import { HttpProblem } from '../http/problem.ts'
import { parseSmallJson } from '../http/small-json.ts'
import { binaryValues, DATATYPES, type Datatype, Digits, type InputColumn, jsonValue } from './tensors.ts'

export const MAX_ROWS = 1_000
const MAX_OUTPUTS = 100

const Parameters = Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean()]))

const InputTensor = Type.Object(
  {
    name: Type.String({ description: 'A field of the event.' }),
    shape: Type.Array(Type.Integer({ minimum: 0 }), { minItems: 1, maxItems: 2, description: '[n] or [n, 1].' }),
    datatype: Type.Enum([...DATATYPES], { description: "As the model's metadata has it for this input." }),
    parameters: Type.Optional(Parameters),
    data: Type.Optional(
      Type.Array(Type.Unsafe<unknown>({}), {
        maxItems: MAX_ROWS,
        description: 'Values, flat or as rows of one; null only where the field may be null. Not with binary data.',
      }),
    ),
  },
  { title: 'InputTensor' },
)

export const InferRequest = Type.Object(
  {
    id: Type.Optional(Type.String({ maxLength: 256, description: 'Comes back with the answer.' })),
    parameters: Type.Optional(Parameters),
    inputs: Type.Array(InputTensor, { minItems: 1, maxItems: 1_000 }),
    outputs: Type.Optional(
      Type.Array(
        Type.Object(
          { name: Type.String(), parameters: Type.Optional(Parameters) },
          { title: 'RequestedOutput', description: '`binary_data: true` asks for it as binary data.' },
        ),
        { maxItems: MAX_OUTPUTS, description: 'Which outputs; without it all.' },
      ),
    ),
  },
  { title: 'InferRequest' },
)

type InferRequest = Static<typeof InferRequest>

/** Would mean something that is not done here: to go on as if it were would be wrong. */
const REFUSED_PARAMETERS = ['sequence_id', 'sequence_start', 'sequence_end', 'priority']
const validator = Compile(InferRequest)

/** Request, inputs, an input, its data, a row. */
const MAX_DEPTH = 5
/** Of the request, of each input and of each output that is asked for; as many elements for a shape. */
const MAX_MEMBERS = 16

export interface WantedOutput {
  readonly name: string
  readonly binary: boolean
}

export interface Inference {
  readonly id: string | undefined
  readonly rows: number
  /** A JSON array of events, one per row. */
  readonly events: Buffer
  /** Null = all. */
  readonly wanted: readonly WantedOutput[] | null
  /** Of outputs that are not named. */
  readonly binary: boolean
  /** What the client gives it, ms; null = as long as it takes. */
  readonly timeoutMs: number | null
}

/**
 * Reads an inference request: JSON, with the binary tensors behind it when `jsonBytes` (Inference-Header-Content-Length) is
 * there. Throws HttpProblem 400 with what is wrong: a JSON that has more than `columns` can take is refused before anything is made of it.
 */
export function readInference(body: Buffer, jsonBytes: number | null, columns: readonly InputColumn[]): Inference {
  const request = parsed(body.subarray(0, jsonBytes ?? body.length), columns.length)
  const parameters = request.parameters ?? {}
  for (const name of REFUSED_PARAMETERS) {
    if (Object.hasOwn(parameters, name)) throw invalid(`the parameter ${name} is not supported: every row stands alone`)
  }
  const binary = body.subarray(jsonBytes ?? body.length)
  const { values, rows } = columnValues(request, binary, columns)
  const { outputs, id } = request
  return {
    id,
    rows,
    events: Buffer.from(jsonEvents(values, rows)),
    wanted:
      outputs === undefined || outputs.length === 0
        ? null
        : outputs.map(({ name, parameters: own }) => ({ name, binary: flag(own, 'binary_data') })),
    binary: flag(parameters, 'binary_data_output'),
    timeoutMs: timeoutOf(parameters),
  }
}

function parsed(text: Buffer, columns: number): InferRequest {
  const maxKeys = MAX_MEMBERS * (1 + columns + MAX_OUTPUTS)
  // a row may be an array of one
  const maxElements = maxKeys + 2 * MAX_ROWS * columns
  const request = parseSmallJson(text, MAX_DEPTH, maxKeys, { maxElements, reviver })
  if (validator.Check(request)) return request
  const [first] = validator.Errors(request)
  throw invalid(`${first?.instancePath || 'the request'} ${first?.message ?? 'is not valid'}`)
}

/** In arrays, numbers keep their text where it says more than they do, so that none is rounded. */
function reviver(this: unknown, key: string, value: unknown, { source }: { readonly source?: string }): unknown {
  if (typeof value === 'number') {
    return Array.isArray(this) && source !== undefined && String(value) !== source ? new Digits(source) : value
  }
  if (key !== 'shape' || !Array.isArray(value)) return value
  return value.map((size) => (size instanceof Digits ? Number(size.text) : size))
}

interface ColumnValues {
  readonly name: string
  /** JSON texts by row. */
  readonly values: readonly string[]
}

function columnValues(
  { inputs }: InferRequest,
  binary: Buffer,
  columns: readonly InputColumn[],
): { readonly values: readonly ColumnValues[]; readonly rows: number } {
  const byName = new Map(columns.map((column) => [column.name, column]))
  const seen = new Set<string>()
  const rows = inputs[0]?.shape[0] ?? 0
  if (rows < 1 || rows > MAX_ROWS) throw invalid(`a request has 1 to ${MAX_ROWS} rows, not ${rows}`)
  let at = 0
  const values = inputs.map((input) => {
    const { name, shape, datatype, parameters } = input
    const column = byName.get(name)
    if (column === undefined) throw invalid(`there is no input ${JSON.stringify(name)}`)
    if (seen.has(name)) throw invalid(`the input ${name} is there twice`)
    seen.add(name)
    if (datatype !== column.datatype) throw invalid(`the input ${name} is ${column.datatype}, not ${datatype}`)
    if (shape[0] !== rows || (shape[1] ?? 1) !== 1) {
      throw invalid(`the input ${name} has the shape [${shape}]; all have to be [${rows}] or [${rows}, 1]`)
    }
    const size = parameters?.['binary_data_size']
    if (size === undefined) return { name, values: fromJson(input, column, rows) }
    if (typeof size !== 'number' || !Number.isInteger(size) || size < 0 || at + size > binary.length) {
      throw invalid(`the input ${name} has a binary_data_size that the body does not have`)
    }
    if (input.data !== undefined) throw invalid(`the input ${name} has both data and binary data`)
    at += size
    return { name, values: fromBinary(name, binary.subarray(at - size, at), datatype as Datatype, rows) }
  })
  if (at !== binary.length) throw invalid(`${binary.length - at} bytes behind the JSON belong to no input`)
  const absent = columns.filter(({ name }) => !seen.has(name))
  const missing = absent.filter((column) => column.absent === 'refused').map(({ name }) => name)
  if (missing.length > 0) throw invalid(`inputs are missing: ${missing.join(', ')}`)
  const nulls = Array<string>(rows).fill('null')
  const nullColumns = absent.filter((column) => column.absent === 'null').map(({ name }) => ({ name, values: nulls }))
  return { values: [...values, ...nullColumns], rows }
}

function fromJson({ name, data }: InferRequest['inputs'][number], column: InputColumn, rows: number): string[] {
  if (data === undefined) throw invalid(`the input ${name} has no data`)
  const flat = data.flat(1)
  if (flat.length !== rows) throw invalid(`the input ${name} has ${flat.length} values, not ${rows}`)
  return flat.map((value, row) => {
    const text = jsonValue(value, column)
    if (text === null) throw invalid(`row ${row}: ${name} is no ${column.datatype} value`)
    return text
  })
}

function fromBinary(name: string, bytes: Buffer, datatype: Datatype, rows: number): readonly string[] {
  let values: readonly string[] | null
  try {
    values = binaryValues(bytes, datatype, rows)
  } catch (error) {
    throw invalid(`the input ${name} has text that is not UTF-8`, error)
  }
  if (values === null) throw invalid(`the binary data of the input ${name} are not ${rows} ${datatype} values`)
  return values
}

function jsonEvents(columns: readonly ColumnValues[], rows: number): string {
  const names = columns.map(({ name }) => `${JSON.stringify(name)}:`)
  const events: string[] = []
  for (let row = 0; row < rows; row++) {
    events.push(`{${columns.map(({ values }, index) => `${names[index]}${values[row]}`).join(',')}}`)
  }
  return `[${events.join(',')}]`
}

function flag(parameters: Readonly<Record<string, unknown>> | undefined, name: string): boolean {
  return parameters?.[name] === true
}

/** In microseconds, as Triton has it. */
function timeoutOf(parameters: Readonly<Record<string, unknown>>): number | null {
  const { timeout } = parameters
  if (timeout === undefined) return null
  if (typeof timeout !== 'number' || timeout <= 0) throw invalid('the parameter timeout is a number of microseconds')
  return Math.ceil(timeout / 1_000)
}

function invalid(detail: string, cause?: unknown): HttpProblem {
  return new HttpProblem(400, 'invalid_inference_request', detail, { cause })
}
