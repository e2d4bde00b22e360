/** What one event may be, in whatever format it comes. */

/** Of its Avro bytes: below what the topics take, with room for the key and headers. */
export const MAX_EVENT_BYTES = 1_000_000
/** Objects and arrays in one another, the event itself among them. */
export const MAX_DEPTH = 32
/** Of an object whose names the schema does not say. */
export const MAX_KEYS = 1_024
/** Of a container file, when it is decompressed. */
export const MAX_CONTAINER_BYTES = 16_777_216
/** Values of a record in a container file, those without bytes too: an event that has more is larger than one may be. */
export const MAX_RECORD_VALUES = 1_000_000
/** As many values may a container file have for each of its bytes, and for each of its records. */
export const VALUES_PER_BYTE = 4
export const VALUES_PER_RECORD = 1_000
/** Of the header of a container file. */
export const MAX_META_ENTRIES = 100
