import { endWithoutZeros } from './exact-numbers.ts'

/** Times from their texts, exact: a fraction finer than the unit is refused unless it is zero. */

const TIMESTAMP = /^(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2}(?:\.\d+)?)(?:[Zz]|([+-])(\d{2}):(\d{2}))$/
const DATE = /^(\d{4})-(\d{2})-(\d{2})$/
const TIME = /^(\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?$/
const DAY_MS = 86_400_000
const SECONDS_OF_MINUTE = 60

/** Units of a second as a power of ten: 3 = milliseconds, 6 = microseconds. */
export type Precision = 3 | 6

/** Days since 1970-01-01 of a date such as 2024-02-29; null when there is none of that name. */
export function daysOf(text: string): number | null {
  const [, year, month, day] = DATE.exec(text) ?? []
  if (year === undefined) return null
  const date = new Date(0)
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day))
  const same = date.getUTCMonth() === Number(month) - 1 && date.getUTCDate() === Number(day)
  return same ? date.getTime() / DAY_MS : null
}

/** Since midnight, of a time such as 23:59:59.5; null when it is none, or not exact in that unit. */
export function timeOfDay(text: string, precision: Precision): number | null {
  const [, hours, minutes, seconds, fraction = ''] = TIME.exec(text) ?? []
  const exact = fraction.slice(0, endWithoutZeros(fraction))
  if (hours === undefined || Number(hours) > 23 || Number(minutes) > 59 || Number(seconds) > 59) return null
  if (exact.length > precision) return null
  const whole = (Number(hours) * SECONDS_OF_MINUTE + Number(minutes)) * SECONDS_OF_MINUTE + Number(seconds)
  return whole * 10 ** precision + Number(exact.padEnd(precision, '0'))
}

/** Since 1970-01-01T00:00:00Z, of an RFC 3339 timestamp (no leap seconds); null when it is none, or not exact in that unit. */
export function timestampOf(text: string, precision: Precision): bigint | null {
  const [, date = '', time = '', sign = '+', hours = '0', minutes = '0'] = TIMESTAMP.exec(text) ?? []
  const days = daysOf(date)
  const ofDay = timeOfDay(time, precision)
  if (days === null || ofDay === null || Number(hours) > 23 || Number(minutes) > 59) return null
  const unit = 10n ** BigInt(precision)
  const offset = BigInt((Number(hours) * SECONDS_OF_MINUTE + Number(minutes)) * SECONDS_OF_MINUTE) * unit
  const local = BigInt(days) * BigInt(DAY_MS / 1_000) * unit + BigInt(ofDay)
  return sign === '-' ? local + offset : local - offset
}
