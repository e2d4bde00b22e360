/* The Avro types of json-cases.ts that have a name or a logical type. */

export const CABIN = { type: 'enum', name: 'Cabin', symbols: ['first', 'second'] }
export const FIXED = { type: 'fixed', name: 'F4', size: 4 }
export const STOP = {
  type: 'record',
  name: 'Stop',
  fields: [
    { name: 'port', type: 'string' },
    { name: 'wait', type: ['null', 'int'], default: null },
    { name: 'next', type: ['null', 'Stop'], default: null },
  ],
}
export const logical = (type: string, logicalType: string, more: object = {}) => ({ type, logicalType, ...more })
export const MILLIS = logical('long', 'timestamp-millis')
export const MICROS = logical('long', 'timestamp-micros')
export const DECIMAL = logical('bytes', 'decimal', { precision: 5, scale: 2 })
export const FIXED_DECIMAL = { ...FIXED, name: 'D4', logicalType: 'decimal', precision: 9, scale: 3 }
