/** Months since the year 0, UTC. */
export function monthOf(epochMs: number): number {
  const date = new Date(epochMs)
  return date.getUTCFullYear() * 12 + date.getUTCMonth()
}

export function monthBegins(month: number): number {
  return Date.UTC(Math.floor(month / 12), month % 12)
}
