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

/** JSON lines on standard output. */
export function createLogger(level: LogLevel, fields: object): Logger {
  return pino({
    level,
    base: fields,
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths: [...REDACTED, ...REDACTED.map((name) => `*.${name}`)], censor: '[redacted]' },
  })
}

const nothing = (): void => {}
export const silentLogger: Logger = {
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
  child: () => silentLogger,
}
