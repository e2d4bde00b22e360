/**
 * `npm run bench:gateway -- [--seconds 6] [--rounds 2] [--only intake,predict,overload,redis]`: a gateway in a process of its own, on a
 * stack of its own, with every limit counted in Redis, under load from another process:
 *
 *   intake    events a second with one and with 500 in a request, beside a bare Fastify route that parses the same JSON and does
 *             nothing (in turns; best of the rounds), and CPU seconds per million events
 *   predict   answers with their prediction: p50 and p99 with one connection, and at 70 % of what saturates it
 *   overload  ten times the connections that saturate it: what is accepted against the peak, p99 of what is accepted, memory
 *   redis     p99 at 30 % of the peak with Redis there, frozen, gone
 *
 * Everything shares the machine, the load generator too. The last line is one JSON object.
 */
import { parseArgs } from 'node:util'
import {
  type LoadRequest,
  type LoadResult,
  peakRss,
  processFigures,
  rate,
  rounded,
  runLoad,
} from './gateway/measure.ts'
import { type BenchServers, startServers } from './gateway/servers.ts'

const PARTS = ['intake', 'predict', 'overload', 'redis'] as const
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '6' },
    rounds: { type: 'string', default: '2' },
    only: { type: 'string', default: PARTS.join(',') },
  },
})
const seconds = Number(values.seconds)
const rounds = Number(values.rounds)
if (!(seconds >= 1 && rounds >= 1)) throw new RangeError('at least 1 s and one round')
const only = values.only.split(',')

const EVENTS_OF_MANY = 500
const CONNECTIONS = 64
const CONNECTIONS_OF_MANY = 4
const PEAK_CONNECTIONS = [CONNECTIONS, 2 * CONNECTIONS, 3 * CONNECTIONS]
const WARM_SECONDS = 3
const OVERLOAD = 10
const PREDICT_LOAD = 0.7
const REDIS_LOAD = 0.3
const EVENTS = '/v1/pipelines/flights/events'
const PREDICT = '/v1/pipelines/flights/predict'

const say = (line: string): void => void process.stdout.write(`${line}\n`)
const failuresOf = ({ statuses, errors, timeouts }: LoadResult): string => {
  const others = Object.entries(statuses).filter(([status]) => !status.startsWith('2'))
  return JSON.stringify({ ...Object.fromEntries(others), ...(errors + timeouts > 0 ? { errors, timeouts } : {}) })
}

async function intake(servers: BenchServers) {
  const { gateway, bareUrl, headers } = servers
  const measured = []
  for (const [events, bodiesFile, connections] of [
    [1, servers.single, CONNECTIONS],
    [EVENTS_OF_MANY, servers.many, CONNECTIONS_OF_MANY],
  ] as const) {
    const request = { headers, bodiesFile, connections, seconds }
    await runLoad({ ...request, url: gateway.url + EVENTS, seconds: WARM_SECONDS })
    const best = { bare: 0, gateway: 0, cpu: Number.POSITIVE_INFINITY }
    for (let round = 0; round < rounds; round++) {
      const bare = rate(await runLoad({ ...request, url: bareUrl + EVENTS })) * events
      const before = await processFigures(gateway.opsPort)
      const load = await runLoad({ ...request, url: gateway.url + EVENTS })
      const after = await processFigures(gateway.opsPort)
      const cpu = (after.cpuSeconds - before.cpuSeconds) / ((load.accepted * events) / 1e6)
      const own = rate(load) * events
      say(
        `${events} event(s) a request: ${rounded(own, 0)} events/s, bare ${rounded(bare, 0)}, ${rounded(cpu, 2)} CPU s per million, p99 ${rounded(load.p99Ms)} ms ${failuresOf(load)}`,
      )
      best.bare = Math.max(best.bare, bare)
      best.gateway = Math.max(best.gateway, own)
      best.cpu = Math.min(best.cpu, cpu)
    }
    measured.push({
      eventsInRequest: events,
      eventsPerSecond: rounded(best.gateway, 0),
      bareEventsPerSecond: rounded(best.bare, 0),
      ratio: rounded(best.gateway / best.bare, 3),
      cpuSecondsPerMillion: rounded(best.cpu, 2),
    })
  }
  return measured
}

async function predict({ gateway, headers, single, startScoring }: BenchServers) {
  const scoring = startScoring()
  const request: Omit<LoadRequest, 'connections'> = { url: gateway.url + PREDICT, headers, bodiesFile: single, seconds }
  try {
    await untilPredicted(request)
    const low = await runLoad({ ...request, connections: 1 })
    const saturated = await runLoad({ ...request, connections: CONNECTIONS })
    const loaded = await runLoad({
      ...request,
      connections: CONNECTIONS,
      ratePerSecond: Math.max(1, Math.round(rate(saturated) * PREDICT_LOAD)),
    })
    const told = (load: LoadResult) => ({
      perSecond: rounded(rate(load)),
      p50Ms: rounded(load.p50Ms),
      p99Ms: rounded(load.p99Ms),
      // accepted, and not predicted within the time that a request waits
      late: load.statuses['202'] ?? 0,
    })
    const figures = { low: told(low), saturated: told(saturated), loaded: told(loaded) }
    say(`predict: ${JSON.stringify(figures)} ${failuresOf(saturated)}`)
    return figures
  } finally {
    await scoring.stop()
  }
}

const START_TRIES = 30

/** The stages have joined their groups and loaded the model when a whole second goes by without a late answer. */
async function untilPredicted(request: Omit<LoadRequest, 'connections'>): Promise<void> {
  for (let tries = 0; tries < START_TRIES; tries++) {
    const { statuses } = await runLoad({ ...request, connections: 1, seconds: 1 })
    if ((statuses['200'] ?? 0) > 10 && statuses['202'] === undefined) return
  }
  throw new Error('no event was answered with its prediction')
}

/** The most that it accepts, whatever the number of connections. */
async function peakOf({ gateway, headers, single }: BenchServers): Promise<LoadResult> {
  const request = { url: gateway.url + EVENTS, headers, bodiesFile: single }
  await runLoad({ ...request, connections: CONNECTIONS, seconds: WARM_SECONDS })
  const loads: LoadResult[] = []
  for (const connections of PEAK_CONNECTIONS) loads.push(await runLoad({ ...request, connections, seconds }))
  return loads.reduce((best, load) => (rate(load) > rate(best) ? load : best))
}

async function overload(servers: BenchServers) {
  const { gateway, headers, single } = servers
  const peak = await peakOf(servers)
  const before = await processFigures(gateway.opsPort)
  const [over, rssBytes] = await peakRss(gateway.opsPort, () =>
    runLoad({
      ...{ url: gateway.url + EVENTS, headers, bodiesFile: single, seconds: 2 * seconds },
      connections: OVERLOAD * CONNECTIONS,
    }),
  )
  const figures = {
    peakPerSecond: rounded(rate(peak), 0),
    goodputPerSecond: rounded(rate(over), 0),
    goodput: rounded(rate(over) / rate(peak), 3),
    peakP99Ms: rounded(peak.p99Ms),
    acceptedP99Ms: rounded(over.p99Ms),
    rssBeforeMiB: rounded(before.rssBytes / 2 ** 20, 0),
    rssMaxMiB: rounded(rssBytes / 2 ** 20, 0),
    statuses: over.statuses,
  }
  say(`overload: ${JSON.stringify(figures)}`)
  return figures
}

async function redisAway(servers: BenchServers) {
  const { gateway, headers, single, redis } = servers
  const ratePerSecond = Math.max(1, Math.round(rate(await peakOf(servers)) * REDIS_LOAD))
  const request = { url: gateway.url + EVENTS, headers, bodiesFile: single, connections: CONNECTIONS, ratePerSecond }
  const there = await runLoad({ ...request, seconds })
  redis.inject({ kind: 'stall', direction: 'toServer' })
  const frozen = await runLoad({ ...request, seconds })
  redis.heal()
  const back = await runLoad({ ...request, seconds })
  redis.inject({ kind: 'reset', direction: 'toServer', afterBytes: 0 })
  const gone = await runLoad({ ...request, seconds })
  redis.heal()
  const added = (load: LoadResult): number | null =>
    load.p99Ms === null || there.p99Ms === null ? null : rounded(load.p99Ms - there.p99Ms)
  const figures = {
    requestsPerSecond: ratePerSecond,
    ...{ p50Ms: rounded(there.p50Ms), p99Ms: rounded(there.p99Ms) },
    ...{ frozenAddedP99Ms: added(frozen), goneAddedP99Ms: added(gone), backAddedP99Ms: added(back) },
    failures: [there, frozen, back, gone].map(failuresOf),
  }
  say(`redis: ${JSON.stringify(figures)}`)
  return figures
}

const servers = await startServers({ eventsOfMany: EVENTS_OF_MANY })
const figures: Record<string, unknown> = {}
try {
  // first, while there is nothing to catch up with
  if (only.includes('predict')) figures['predict'] = await predict(servers)
  if (only.includes('intake')) figures['intake'] = await intake(servers)
  if (only.includes('overload')) figures['overload'] = await overload(servers)
  if (only.includes('redis')) figures['redis'] = await redisAway(servers)
} finally {
  await servers.stop()
}
say(JSON.stringify(figures))
