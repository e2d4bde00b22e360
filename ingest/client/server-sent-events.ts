export interface ServerSentEvent {
  /** `message` when it has no name. */
  readonly name: string
  /** The last id so far; null before there was one. */
  readonly id: string | null
  /** Empty: only the id or the time to wait has changed. */
  readonly data: string
  /** How long to wait before the next connection, ms; null as long as it was not said. */
  readonly retryMs: number | null
}

/** Reads `text/event-stream` as the HTML standard has it; comments are passed over. Ends with the body. */
export async function* readServerSentEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  let id: string | null = null
  let retryMs: number | null = null
  let name = ''
  let data: string[] = []
  for await (const line of lines(body)) {
    if (line === '') {
      yield { name: name === '' ? 'message' : name, id, data: data.join('\n'), retryMs }
      name = ''
      data = []
      continue
    }
    const colon = line.indexOf(':')
    const field = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
    if (field === 'data') data.push(value)
    else if (field === 'event') name = value
    else if (field === 'retry' && /^\d+$/.test(value)) retryMs = Number(value)
    else if (field === 'id' && !value.includes('\0')) id = value
  }
}

async function* lines(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of body) {
    rest += decoder.decode(chunk, { stream: true })
    // a CR at the end may be half of a CRLF
    const complete = rest.endsWith('\r') ? rest.slice(0, -1) : rest
    const parts = complete.split(/\r\n|\n|\r/)
    rest = (parts.pop() ?? '') + rest.slice(complete.length)
    yield* parts
  }
}
