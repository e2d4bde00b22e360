import type { SchemaRegistry } from '../../infra/runtime/avro/schema-registry.ts'
import { retryable } from '../../infra/runtime/errors.ts'
import type { AvroSchema } from '../../schemas/pipeline/compiled.ts'

/** Knows the schemas it is given, by id; `down` makes every question fail. */
export function memoryRegistry(schemas: ReadonlyMap<number, AvroSchema>): SchemaRegistry & { down: boolean } {
  return {
    down: false,
    async schemaById(id) {
      if (this.down) throw retryable('registry_unavailable', 'the registry is down')
      return schemas.get(id) ?? null
    },
    async register() {
      throw retryable('registry_unavailable', 'nothing is registered here')
    },
  }
}
