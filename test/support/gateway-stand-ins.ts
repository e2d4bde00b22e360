import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import type { StageContext } from '../../infra/runtime/stage-process.ts'
import type { Gateway } from '../../ingest/http/request.ts'
import type { EventReader, ReadItem } from '../../ingest/mapping/event-reader.ts'
import type { GatewayParts } from '../../ingest/start-gateway.ts'

export function standIns({ pipeline }: StageContext): Pick<GatewayParts, 'readers' | 'answers' | 'limits'> {
  const { event, label } = pipeline
  const reader = (schema: Readonly<Record<string, unknown>>, idField: string, keyField: string | null): EventReader => {
    const type = parseAvroSchema(schema, 'stand-in')
    return {
      read(body, format, { idempotencyKey }) {
        const parsed: unknown =
          format === 'ndjson'
            ? body
                .toString()
                .trim()
                .split('\n')
                .map((line) => JSON.parse(line) as unknown)
            : JSON.parse(body.toString())
        const several = Array.isArray(parsed)
        const records = (several ? parsed : [parsed]) as Record<string, unknown>[]
        return {
          several,
          items: records.map((record, index): ReadItem => {
            const id = String(record[idField] ?? (several ? `${idempotencyKey}.${index}` : idempotencyKey))
            try {
              const value = type.encode(1, { ...record, [idField]: id })
              const key = keyField === null ? null : ((record[keyField] ?? null) as string | null)
              return { ok: true, value, id, key }
            } catch (error) {
              return { ok: false, problem: { code: 'invalid', pointer: '', detail: (error as Error).message } }
            }
          }),
        }
      },
    }
  }
  return {
    readers: {
      events: reader(event.schema, event.idField, event.keyField),
      labels: label === null ? null : reader(label.schema, label.idField, label.idField),
    },
    answers: { find: async () => ({ state: 'pending' }), wait: async () => ({ state: 'pending' }) },
    limits: {
      take: async () => ({ ok: true, standings: [], retryAfterSeconds: 0 }),
      enter: () => () => {},
    },
  }
}

export function bodies(app: Gateway): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, async (_request: unknown, body: Buffer) => body)
}
