import { pino } from 'pino'

/** One line is one fact with its fields: no payloads, no secrets. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
  child(fields: object): Logger
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'

const REDACTED = ['password', 'secret', 'token', 'authorization', 'apiKey', 'sasl', 'url.password']

/** JSON lines on standard output; or on standard error, for processes whose output is something else. */
export function createLogger(level: LogLevel, fields: object, to: 'stdout' | 'stderr' = 'stdout'): Logger {
  const options = {
    level,
    base: fields,
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths: [...REDACTED, ...REDACTED.map((name) => `*.${name}`)], censor: '[redacted]' },
  }
  return to === 'stdout' ? pino(options) : pino(options, pino.destination({ fd: 2, sync: true }))
}

const nothing = (): void => {}
export const silentLogger: Logger = {
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
  child: () => silentLogger,
}
