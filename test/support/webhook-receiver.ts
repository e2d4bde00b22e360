import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'

export interface ReceivedWebhook {
  readonly headers: IncomingHttpHeaders
  readonly body: string
  readonly status: number
}

/** An HTTP server that answers with these statuses in turn, then 204; `hang` = never. Ends with the test. */
export async function webhookReceiver(statuses: readonly (number | 'hang')[] = []) {
  const received: ReceivedWebhook[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const status = statuses[received.length] ?? 204
      const { headers } = request
      received.push({ headers, body: Buffer.concat(chunks).toString(), status: status === 'hang' ? 0 : status })
      if (status !== 'hang') response.writeHead(status, { location: '/elsewhere' }).end()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(async () => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/alerts`, received }
}
