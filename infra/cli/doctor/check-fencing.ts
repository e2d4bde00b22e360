import { randomUUID } from 'node:crypto'
import { describeError, fatal } from '../../runtime/errors.ts'
import type { KafkaConnections } from '../../runtime/kafka/connections/connections.ts'
import type { LaneClaims, LaneTopics, LaneWriter } from '../../runtime/kafka/exactly-once/lane-writer.ts'
import type { KafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import type { LogReader } from '../../runtime/kafka/log-reader.ts'
import { slicesOf } from '../../runtime/kafka/record-batches/columns.ts'
import { KEPT_REPLICAS } from '../../runtime/kafka/topic-checks.ts'
import { patiently } from '../patiently.ts'
import type { Finding } from './finding.ts'

export interface FencingDeps {
  readonly admin: Pick<KafkaAdmin, 'createTopic' | 'deleteTopic' | 'brokerCount'>
  readonly connections: Pick<KafkaConnections, 'topics'>
  readonly reader: Pick<LogReader, 'read' | 'range'>
  /** As another process would make them. */
  readonly createClaims: () => LaneClaims
}

const PATIENCE_MS = 30_000

/**
 * Exactly once rests on brokers that refuse a writer once another one has claimed its partition. Runs a claim, a second one, and a
 * write of the first, on a topic of its own that is deleted afterwards.
 */
export async function checkFencing(about: string, deps: FencingDeps): Promise<readonly Finding[]> {
  const { admin } = deps
  const topic = `millrace.doctor-${randomUUID()}`
  const replicas = Math.min(KEPT_REPLICAS, await admin.brokerCount())
  await admin.createTopic({ name: topic, partitions: 1, replicas, config: {} })
  const zombie = deps.createClaims()
  const owner = deps.createClaims()
  try {
    const lane = await laneOf(deps, topic)
    const refusal = await refusalOf(await claim(zombie, lane), () => claim(owner, lane))
    const found = await countRecords(deps, topic)
    if (refusal !== 'lane_fenced' || found !== 1) {
      const answer = refusal === null ? 'was acknowledged' : `ended with ${refusal}`
      const detail = `a write after a later claim ${answer}, ${found} of 2 records landed: these brokers do not fence, and an event may be predicted twice`
      return [{ ok: false, about, detail }]
    }
    return [{ ok: true, about, detail: 'a writer is refused once another one has claimed its partition' }]
  } finally {
    await Promise.allSettled([zombie.close(), owner.close()])
    await admin.deleteTopic(topic)
  }
}

/** Code of what the first writer's write ends with after the second claim; null = it was acknowledged. */
async function refusalOf(first: LaneWriter, claimAgain: () => Promise<LaneWriter>): Promise<string | null> {
  const second = await claimAgain()
  const refusal = await first.write(record('zombie'), null, 0).then(
    () => null,
    (error: unknown) => describeError(error).code,
  )
  await second.write(record('owner'), null, 0)
  return refusal
}

function claim(claims: LaneClaims, lane: LaneTopics): Promise<LaneWriter> {
  const committed = { offset: 0, metadata: '' }
  const again = (): Promise<LaneWriter> =>
    claims.claim(lane, committed, async () => true, AbortSignal.timeout(PATIENCE_MS))
  return patiently('claiming', again, { say: () => {}, signal: AbortSignal.timeout(PATIENCE_MS) })
}

async function laneOf({ connections }: FencingDeps, topic: string): Promise<LaneTopics> {
  const generation = (await connections.topics([topic])).get(topic)?.id
  if (generation === undefined) throw fatal('unknown_topic', `${topic} was made and is not there`)
  return { partition: 0, input: { topic, generation }, output: null, deadLetters: topic }
}

async function countRecords({ reader }: FencingDeps, topic: string): Promise<number> {
  const { start, end } = await reader.range(topic, 0)
  let records = 0
  for await (const { length } of reader.read(topic, 0, start, end)) records += length
  return records
}

function record(text: string) {
  const values = slicesOf([Buffer.from(text)])
  return { length: 1, timestamps: Date.now(), keys: slicesOf([null]), values, headers: null }
}
