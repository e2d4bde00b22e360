import type { Gateway } from '../../ingest/http/request.ts'
import type { GatewayParts } from '../../ingest/start-gateway.ts'

export const standIns: Pick<GatewayParts, 'answers'> = {
  answers: { find: async () => ({ state: 'pending' }), wait: async () => ({ state: 'pending' }) },
}

export function bodies(app: Gateway): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, async (_request: unknown, body: Buffer) => body)
}
