// Generated from the pipeline's Avro schemas by `millrace generate`. Do not edit.

/** One flight that left New York (EWR, JFK or LGA) in 2013, published at its actual departure. Cancelled flights have no event. */
export interface FlightDeparture {
  /** Unique: scheduled local date, carrier, flight number, origin and scheduled local time, as in 20130315-UA-1545-EWR-0515. */
  readonly event_id: string
  /** Two-character IATA airline code. */
  readonly carrier: string
  /** Flight number of the carrier. */
  readonly flight: number
  /** Registration of the plane; null = unknown. */
  readonly tailnum: string | null
  /** IATA code of the airport of departure: EWR, JFK or LGA. */
  readonly origin: string
  /** IATA code of the airport the flight was planned to land at. */
  readonly dest: string
  /** Scheduled departure: milliseconds since 1970-01-01 UTC, exact to the minute. */
  readonly scheduled_at: number
  /** Actual departure: milliseconds since 1970-01-01 UTC, exact to the minute. The time of the event. */
  readonly departed_at: number
  /** departed_at minus scheduled_at, in minutes; negative = early. */
  readonly dep_delay: number
  /** Distance from origin to dest, in statute miles. */
  readonly distance: number
  /** Calendar year the plane was built; null = unknown. */
  readonly plane_year: number | null
  /** Number of seats of the plane; null = unknown. */
  readonly plane_seats: number | null
}

/** The arrival of a flight at its planned destination, published when it happens. Diverted flights have none. */
export interface FlightArrival {
  /** event_id of the FlightDeparture. */
  readonly event_id: string
  /** Actual minus scheduled arrival, in minutes; negative = early. The model predicts arr_delay > 15. */
  readonly arr_delay: number
  /** Actual arrival at the gate: milliseconds since 1970-01-01 UTC, exact to the minute. */
  readonly arrived_at: number
}

/** Weather at one airport for one hour. Table key: origin and hour. Null = not measured. */
export interface WeatherObservation {
  /** IATA code of the airport: EWR, JFK or LGA. */
  readonly origin: string
  /** Start of the hour the row is for: milliseconds since 1970-01-01 UTC. */
  readonly hour: number
  /** When the row became known: milliseconds since 1970-01-01 UTC. Equal to hour in this data. */
  readonly observed_at: number
  /** Temperature, degrees Fahrenheit. */
  readonly temp: number | null
  /** Dew point, degrees Fahrenheit. */
  readonly dewp: number | null
  /** Relative humidity, percent. */
  readonly humid: number | null
  /** Direction the wind comes from, degrees clockwise from north. */
  readonly wind_dir: number | null
  /** Wind speed, miles per hour. */
  readonly wind_speed: number | null
  /** Peak gust, miles per hour; null also when there was none to report. */
  readonly wind_gust: number | null
  /** Precipitation in the hour, inches. */
  readonly precip: number | null
  /** Sea-level pressure, millibars. */
  readonly pressure: number | null
  /** Visibility, statute miles. */
  readonly visib: number | null
}

/** What `definePipeline` is typed with. */
export interface Records {
  readonly event: FlightDeparture
  readonly label: FlightArrival
  readonly tables: {
    readonly weather: WeatherObservation
  }
}
