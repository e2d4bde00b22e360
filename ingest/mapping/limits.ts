/** What one event may be, in whatever format it comes. */

/** Of its Avro bytes: below what the topics take, with room for the key and headers. */
export const MAX_EVENT_BYTES = 1_000_000
/** Objects and arrays in one another, the event itself among them. */
export const MAX_DEPTH = 32
/** Of an object whose names the schema does not say. */
export const MAX_KEYS = 1_024
/** Of a container file, when it is decompressed. */
export const MAX_CONTAINER_BYTES = 16_777_216
