import { type Command, InvalidArgumentError } from 'commander'
import type { LimitSettings } from '../../../schemas/control/access.ts'

const OPTIONS: readonly (readonly [keyof LimitSettings, string, string])[] = [
  ['requestsPerSecond', '--requests-per-second <n>', 'requests in a second'],
  ['eventsPerSecond', '--events-per-second <n>', 'events in a second'],
  ['bytesPerSecond', '--bytes-per-second <n>', 'bytes of request bodies in a second'],
  [
    'concurrentRequests',
    '--concurrent-requests <n>',
    'requests at one time; each gateway lets its part run, one at least',
  ],
  ['eventsPerMonth', '--events-per-month <n>', 'events in a calendar month (UTC)'],
]

/** commander takes null for no value. */
export type LimitOptions = { readonly [K in keyof LimitSettings]?: number | 'none' }

export function withLimits(command: Command): Command {
  for (const [, flag, about] of OPTIONS) command.option(flag, `at most so many ${about}; none = no limit`, limit)
  return command
}

/** Those that were given. */
export function limitsOf(options: LimitOptions): Partial<LimitSettings> {
  const given = OPTIONS.filter(([name]) => options[name] !== undefined)
  return Object.fromEntries(given.map(([name]) => [name, options[name] === 'none' ? null : options[name]]))
}

/** As options: `events per second 100, …`. */
export function limitsText(limits: LimitSettings): string {
  const set = OPTIONS.filter(([name]) => limits[name] !== null)
  if (set.length === 0) return 'no limits'
  return set.map(([name, flag]) => `${flag.slice(2, -4).replaceAll('-', ' ')} ${limits[name]}`).join(', ')
}

function limit(text: string): number | 'none' {
  if (text === 'none') return text
  if (!/^[1-9]\d{0,11}$/.test(text)) throw new InvalidArgumentError('must be a whole number from 1 on, or none.')
  return Number(text)
}
