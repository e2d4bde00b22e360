/** An error of the endpoint itself, in the words and with the code a ClickHouse server would use. */
export class EndpointError extends Error {
  constructor(code: number, name: string, message: string) {
    super(`Code: ${code}. DB::Exception: ${message} (${name})`)
  }
}

// What a ClickHouse server answers for a code (src/Server/HTTP/exceptionCodeToHTTPStatus.cpp); any other is 500.
const CODES_OF_STATUS: Record<number, readonly number[]> = {
  400: [6, 26, 27, 33, 36, 38, 41, 42, 43, 44, 47, 53, 62, 69, 70, 72, 108, 117, 130, 131, 386, 395, 427, 456, 457],
  401: [194],
  403: [192, 193, 497, 516],
  404: [46, 50, 56, 60, 63, 73, 81, 111, 115, 511],
  413: [307],
  501: [48],
  503: [209],
  504: [159],
}
const STATUS_OF_CODE = new Map(
  Object.entries(CODES_OF_STATUS).flatMap(([status, codes]) => codes.map((code) => [code, Number(status)] as const)),
)

interface ErrorAnswer {
  code: number
  status: number
  /** `Code: N. DB::Exception: … (NAME) (version …)`, the form every client parses. */
  text: string
}

const UNKNOWN_EXCEPTION = 1002

export function answerOf(error: unknown, version: string): ErrorAnswer {
  let text = String(error instanceof Error ? error.message : error)
    .replace(/^Query failed: /, '')
    .trimEnd()
  if (!/^Code: \d+/.test(text)) text = `Code: ${UNKNOWN_EXCEPTION}. DB::Exception: ${text} (UNKNOWN_EXCEPTION)`
  const code = Number(/^Code: (\d+)/.exec(text)?.[1])
  return { code, status: STATUS_OF_CODE.get(code) ?? 500, text: `${text} (version ${version})\n` }
}
