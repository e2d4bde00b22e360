import { category, check, definePipeline, derive, type LookupKey, lookup, number } from 'millrace'
import type { Records } from './generated/records.ts'
import { CARRIERS, DESTINATIONS, ORIGINS } from './vocabulary.ts'

const HOUR_MS = 3_600_000

/** Key of the weather at departure: the airport and the hour (UTC) in which the plane left. */
const atDeparture: LookupKey<Records> = ['origin', derive(['departed_at'], (at) => at - (at % HOUR_MS))]

export default definePipeline<Records>({
  name: 'flights',
  event: { schema: './event.avsc', id: 'event_id', key: 'tailnum', time: 'departed_at', segment: 'origin' },
  tables: {
    weather: { schema: './weather.avsc', key: ['origin', 'hour'], time: 'observed_at', maxAge: '3h' },
  },
  validate: [check('distance_out_of_range', ['distance'], (miles) => miles > 0 && miles < 6000)],
  features: {
    dep_delay: number('dep_delay'),
    distance: number('distance'),
    carrier: category('carrier', CARRIERS),
    origin: category('origin', ORIGINS),
    dest: category('dest', DESTINATIONS),
    scheduled_hour: derive(['scheduled_at'], (at) => new Date(at).getUTCHours()),
    weekday: derive(['scheduled_at'], (at) => (new Date(at).getUTCDay() + 6) % 7),
    plane_age: derive(['plane_year'], (year) => (year === null ? null : 2013 - year)),
    plane_seats: number('plane_seats'),
    temp: lookup('weather', 'temp', { by: atDeparture }),
    humid: lookup('weather', 'humid', { by: atDeparture }),
    wind_speed: lookup('weather', 'wind_speed', { by: atDeparture }),
    wind_gust: lookup('weather', 'wind_gust', { by: atDeparture }),
    precip: lookup('weather', 'precip', { by: atDeparture }),
    pressure: lookup('weather', 'pressure', { by: atDeparture }),
    visib: lookup('weather', 'visib', { by: atDeparture }),
  },
  model: { name: 'flight-delay', alias: 'production', output: { tensor: 'probabilities', index: 1 }, budget: '20ms' },
  label: { schema: './label.avsc', id: 'event_id', value: (label) => label.arr_delay > 15, time: 'arrived_at' },
  // A year of events is played at any speed: its time, not the clock's, is what is watched.
  monitor: { pane: '1h', window: '7d' },
})
