// Generated from the pipeline's Avro schemas by `millrace generate`. Do not edit.

/** A departure with its weather inside, so that nothing has to be looked up. Made up by flights.ts. */
export interface FlightDeparture {
  readonly event_id: string
  /** Milliseconds since 1970-01-01 UTC. */
  readonly event_time: number
  readonly carrier: string
  readonly flight: number
  readonly tailnum: string | null
  readonly origin: string
  readonly dest: string
  /** Hours and minutes as one number, 515 = 05:15. */
  readonly sched_dep_time: number
  readonly dep_delay: number
  readonly distance: number
  readonly temp: number | null
  readonly humid: number | null
  readonly wind_speed: number | null
  readonly wind_gust: number | null
  readonly precip: number | null
  readonly pressure: number | null
  readonly visib: number | null
  readonly plane_year: number | null
  readonly seats: number | null
}

/** What `definePipeline` is typed with. */
export interface Records {
  readonly event: FlightDeparture
  readonly label: null
  readonly tables: Record<never, never>
}
