/**
 * Confluent wire format of an Avro value:
 *
 *   byte 0      magic, 0
 *   bytes 1-4   registry id of the writer schema, big-endian int32
 *   bytes 5-    Avro binary
 */
export const WIRE_HEADER_BYTES = 5
const MAGIC = 0

/** Null when the value does not begin like one. */
export function wireSchemaId(value: Buffer): number | null {
  return value.length >= WIRE_HEADER_BYTES && value[0] === MAGIC ? value.readInt32BE(1) : null
}

export function writeWireHeader(target: Buffer, schemaId: number): void {
  target[0] = MAGIC
  target.writeInt32BE(schemaId, 1)
}
