import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import { onTestFinished } from 'vitest'

export interface ReceivedEvent {
  readonly event: string
  readonly data: Record<string, unknown>
  readonly id: string
}

/** A client of server-sent events that reads when it is asked to. */
export interface EventStreamClient {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  /** Of the last event or heartbeat that was read. */
  readonly lastId: string
  readonly heartbeats: number
  /** The next event; null when the stream has ended, or was cut off. */
  next(): Promise<ReceivedEvent | null>
  /** So many, or fewer when it ends. */
  take(count: number): Promise<readonly ReceivedEvent[]>
  /** What a response that is no stream says. */
  body(): Promise<string>
  close(): void
}

export async function openEventStream(
  url: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<EventStreamClient> {
  const request = http.get(url, { headers, agent: false })
  onTestFinished(() => void request.destroy())
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  const chunks = response.setEncoding('utf8')[Symbol.asyncIterator]() as AsyncIterator<string>
  let text = ''
  let lastId = ''
  let heartbeats = 0

  async function more(): Promise<boolean> {
    try {
      const { value, done } = await chunks.next()
      if (!done) text += value
      return !done
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ECONNRESET') return false
      throw error
    }
  }

  async function next(): Promise<ReceivedEvent | null> {
    for (;;) {
      const end = text.indexOf('\n\n')
      if (end < 0) {
        if (!(await more())) return null
        continue
      }
      const fields = new Map<string, string>()
      for (const line of text.slice(0, end).split('\n')) {
        const [, name = '', value = ''] = /^([^:]*): ?(.*)$/.exec(line) ?? []
        fields.set(name, value)
      }
      text = text.slice(end + 2)
      lastId = fields.get('id') ?? lastId
      if (fields.get('') === 'heartbeat') heartbeats += 1
      const data = fields.get('data')
      if (data === undefined) continue
      return { event: fields.get('event') ?? 'message', data: JSON.parse(data) as ReceivedEvent['data'], id: lastId }
    }
  }

  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    get lastId() {
      return lastId
    },
    get heartbeats() {
      return heartbeats
    },
    next,
    async take(count) {
      const taken: ReceivedEvent[] = []
      while (taken.length < count) {
        const event = await next()
        if (event === null) break
        taken.push(event)
      }
      return taken
    },
    async body() {
      while (await more());
      return text
    },
    close: () => void request.destroy(),
  }
}
