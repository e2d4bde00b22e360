import { category, check, definePipeline, derive, number } from 'millrace'
import { CARRIERS, DESTINATIONS, ORIGINS } from '../../sample/flights/vocabulary.ts'
import type { Records } from './generated/records.ts'

const DAY_MS = 86_400_000

export default definePipeline<Records>({
  name: 'bench',
  event: { schema: './event.avsc', id: 'event_id', key: 'tailnum', time: 'event_time', segment: 'origin' },
  validate: [check('distance_out_of_range', ['distance'], (miles) => miles > 0 && miles < 6000)],
  features: {
    dep_delay: number('dep_delay'),
    distance: number('distance'),
    hour: derive(['sched_dep_time'], (time) => Math.trunc(time / 100)),
    weekday: derive(['event_time'], (at) => (Math.floor(at / DAY_MS) + 3) % 7),
    carrier: category('carrier', CARRIERS),
    origin: category('origin', ORIGINS),
    dest: category('dest', DESTINATIONS),
    temp: number('temp'),
    humid: number('humid'),
    wind_speed: number('wind_speed'),
    wind_gust: number('wind_gust'),
    precip: number('precip'),
    pressure: number('pressure'),
    visib: number('visib'),
    plane_age: derive(['plane_year'], (year) => (year === null ? null : 2013 - year)),
    seats: number('seats'),
  },
  // made when the bench runs
  model: { name: 'bench', alias: 'production', output: { tensor: 'probabilities', index: 1 }, budget: '20ms' },
})
