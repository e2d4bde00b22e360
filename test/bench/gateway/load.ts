import { readFileSync } from 'node:fs'
import autocannon from 'autocannon'
import type { LoadRequest, LoadResult } from './measure.ts'

/** A load generator, in a process of its own: takes a LoadRequest as JSON, prints a LoadResult. */
const load = JSON.parse(process.argv[2] ?? '{}') as LoadRequest
const bodies = JSON.parse(readFileSync(load.bodiesFile, 'utf8')) as readonly string[]

const statuses: Record<string, number> = {}
const accepted: number[] = []
const since = performance.now()
const ended = Promise.withResolvers<autocannon.Result>()
const options: autocannon.Options = {
  url: load.url,
  connections: load.connections,
  duration: load.seconds,
  timeout: 30,
  ...(load.ratePerSecond === undefined ? {} : { overallRate: load.ratePerSecond }),
  headers: { 'content-type': 'application/json', ...load.headers },
  requests: bodies.map((body) => ({ method: 'POST', path: new URL(load.url).pathname, body })),
}
const instance = autocannon(options, (error: Error | null, result) => {
  if (error) ended.reject(error)
  else ended.resolve(result)
})
instance.on('response', (_client, status, _bytes, tookMs) => {
  statuses[status] = (statuses[status] ?? 0) + 1
  if (status >= 200 && status < 300) accepted.push(tookMs)
})
const { errors, timeouts } = await ended.promise
accepted.sort((a, b) => a - b)
const quantile = (share: number): number | null => accepted[Math.floor(accepted.length * share)] ?? null
const result: LoadResult = {
  seconds: (performance.now() - since) / 1_000,
  statuses,
  errors,
  timeouts,
  accepted: accepted.length,
  p50Ms: quantile(0.5),
  p99Ms: quantile(0.99),
  maxMs: accepted.at(-1) ?? null,
}
process.stdout.write(`${JSON.stringify(result)}\n`)
