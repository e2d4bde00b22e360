/** Compiled by tsc, never run: what the definition API must accept and, with @ts-expect-error, refuse. */
import { category, check, definePipeline, derive, flag, lookup, number } from 'millrace'

interface Records {
  readonly event: {
    readonly id: string
    readonly distance: number
    readonly carrier: string
    readonly cabin: 'first' | 'second'
    readonly seats: number | null
    readonly late: boolean
    readonly at: number
  }
  readonly label: { readonly id: string; readonly delay: number; readonly at: number }
  readonly tables: {
    readonly weather: {
      readonly airport: string
      readonly hour: number
      readonly wind: number | null
      readonly at: number
    }
  }
}

const event = { schema: './event.avsc', id: 'id', time: 'at' } as const
const model = { name: 'm', alias: 'production', output: { tensor: 'probabilities', index: 1 }, budget: '20ms' } as const
const weather = { schema: './w.avsc', key: ['airport', 'hour'], time: 'at', maxAge: '3h' } as const

export const accepted = definePipeline<Records>({
  name: 'accepted',
  event: { ...event, key: 'carrier', segment: 'cabin', tenant: { header: true }, retention: '7d' },
  tables: { weather: { ...weather, onUnavailable: { degradeAfter: '2s' } } },
  validate: [
    check('too_far', ['distance'], (d) => d < 6000),
    check('named', ['carrier', 'seats'], (carrier, seats) => carrier.length > 1 && (seats === null || seats > 0)),
  ],
  features: {
    distance: number('distance'),
    seats: number('seats', { missing: 0 }),
    carrier: category('carrier', ['AA'], { unseen: 1 }),
    cabin: category('cabin', ['first', 'second']),
    late: flag('late'),
    hour: derive(['at'], (at) => new Date(at).getUTCHours()),
    ratio: derive(['seats', 'distance'], (seats, distance) => (seats === null ? null : seats / distance), {
      missing: -1,
    }),
    wind: lookup('weather', 'wind', { by: ['carrier', derive(['at'], (at) => at - (at % 3_600_000))], missing: 0 }),
    gust: lookup('weather', 'wind', { by: [derive(['carrier'], (carrier) => carrier.slice(0, 2)), 'at'] }),
  },
  model,
  label: { schema: './label.avsc', id: 'id', time: 'at', value: (label) => label.delay > 15 },
})

export const refused = definePipeline<Records>({
  name: 'refused',
  event: {
    ...event,
    // @ts-expect-error a misspelt key field
    key: 'carier',
    // @ts-expect-error a time that is not a number
    time: 'carrier',
    // @ts-expect-error not a duration
    retention: '7 days',
  },
  tables: {
    weather: {
      ...weather,
      // @ts-expect-error a misspelt key field of the table
      key: ['airport', 'our'],
      // @ts-expect-error not a duration
      maxAge: 3,
    },
  },
  validate: [
    // @ts-expect-error a misspelt field
    check('a', ['distanc'], (d) => d > 0),
    // @ts-expect-error a value used as another type
    check('b', ['carrier'], (c) => c > 0),
  ],
  features: {
    // @ts-expect-error a misspelt field
    a: number('distanc'),
    // @ts-expect-error a string as a number
    b: number('carrier'),
    // @ts-expect-error a number as a category
    c: category('distance', ['1']),
    // @ts-expect-error a string as a flag
    d: flag('carrier'),
    // @ts-expect-error a misspelt field
    e: derive(['distanc'], (d) => d / 2),
    // @ts-expect-error a string divided
    f: derive(['carrier'], (c) => c / 2),
    // @ts-expect-error a feature that is a string
    g: derive(['carrier'], (c) => c),
    // @ts-expect-error a misspelt table
    h: lookup('wether', 'wind', { by: ['carrier', 'at'] }),
    // @ts-expect-error a misspelt column
    i: lookup('weather', 'wnd', { by: ['carrier', 'at'] }),
    // @ts-expect-error a misspelt key part
    j: lookup('weather', 'wind', { by: ['carier', 'at'] }),
    // @ts-expect-error a misspelt field of a derived key part
    k: lookup('weather', 'wind', { by: ['carrier', derive(['att'], (at) => at)] }),
    // @ts-expect-error an option that does not exist
    l: number('distance', { default: 0 }),
  },
  // @ts-expect-error a model without a budget
  model: { name: 'm', alias: 'production', output: { tensor: 'probabilities' } },
  label: {
    schema: './label.avsc',
    // @ts-expect-error an id that is not a string
    id: 'delay',
    time: 'at',
    // @ts-expect-error a misspelt field of the label
    value: (label) => label.dela > 15,
  },
})

export const unknownTable = definePipeline<Records>({
  name: 'unknown-table',
  event,
  // @ts-expect-error a table that Records does not have
  tables: { weather, wether: weather },
  features: { distance: number('distance') },
  model,
})
