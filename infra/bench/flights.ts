import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { type AvroType, parseAvroSchema } from '../runtime/avro/avro-type.ts'
import { CARRIERS, DESTINATIONS, ORIGINS } from '../sample/flights/vocabulary.ts'

/** Departures of infra/bench/flights, the same ones for the same seed. */
export interface Flights {
  readonly type: AvroType
  /** Key and value of the next one. */
  next(): { readonly key: Buffer | null; readonly value: Buffer }
}

const START_MS = Date.UTC(2013, 0, 1)
const YEAR_MINUTES = 365 * 24 * 60
const MINUTE_MS = 60_000

export function createFlights(pipeline: CompiledPipeline, schemaId: number, seed = 1): Flights {
  const type = parseAvroSchema(pipeline.event.schema, 'event')
  let state = seed
  let made = 0
  // Numerical Recipes' linear congruential generator
  const random = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
  const one = (values: readonly string[]): string => values[random(values.length)] ?? ''
  const maybe = <T>(value: T): T | null => (random(20) === 0 ? null : value)

  return {
    type,
    next() {
      const time = START_MS + random(YEAR_MINUTES) * MINUTE_MS
      const [carrier, origin, dest] = [one(CARRIERS), one(ORIGINS), one(DESTINATIONS)]
      const flight = 1 + random(6_000)
      const tailnum = maybe(`N${10_000 + random(3_500)}`)
      const date = new Date(time)
      const day = date.toISOString().slice(0, 10).replaceAll('-', '')
      const clock = date.getUTCHours() * 100 + date.getUTCMinutes()
      made += 1
      const record = {
        event_id: `${day}-${carrier}-${flight}-${origin}-${made}`,
        event_time: time,
        carrier,
        flight,
        tailnum,
        origin,
        dest,
        sched_dep_time: clock,
        dep_delay: random(300) - 20,
        distance: 80 + random(4_900),
        temp: maybe(random(9_000) / 100),
        humid: maybe(random(10_000) / 100),
        wind_speed: maybe(random(4_000) / 100),
        wind_gust: random(4) === 0 ? random(6_000) / 100 : null,
        precip: maybe(random(100) / 100),
        pressure: maybe(990 + random(5_000) / 100),
        visib: maybe(random(100) / 10),
        plane_year: maybe(1_980 + random(33)),
        seats: maybe(20 + random(380)),
      }
      return { key: tailnum === null ? null : Buffer.from(tailnum), value: type.encode(schemaId, record) }
    },
  }
}
