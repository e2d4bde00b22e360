import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import { createFencing, type FencedPartition, type Fencing } from '../../infra/runtime/kafka/exactly-once/fencing.ts'
import type { ProducerIdentity } from '../../infra/runtime/kafka/protocol/init-producer-id.ts'
import { eventually } from '../support/eventually.ts'
import { type KafkaCluster, startKafkaCluster } from '../support/kafka-broker.ts'
import { type LanesOnKafka, laneOf, lanesOn } from '../support/lanes-on-kafka.ts'
import { startZombie, writeAs } from '../support/zombie.ts'

// What makes one writer the only one, on a broker that forgets producers within seconds.

const CLAIMS = 200
const FORGETS_PRODUCERS_MS = 10_000
const FORGETS_IDS_MS = 6_000
const RECOVERY_MS = 60_000
const SIGNAL = new AbortController().signal

let cluster: KafkaCluster
let lanes: LanesOnKafka
let fencing: Fencing

beforeAll(async () => {
  cluster = await startKafkaCluster({
    settings: {
      'producer.id.expiration.ms': `${FORGETS_PRODUCERS_MS}`,
      'producer.id.expiration.check.interval.ms': '200',
      'transactional.id.expiration.ms': `${FORGETS_IDS_MS}`,
      'transaction.remove.expired.transaction.cleanup.interval.ms': '200',
    },
  })
  lanes = await lanesOn(cluster.addresses)
  fencing = createFencing({
    connections: lanes.connections,
    logReader: lanes.logReader,
    clock: systemClock,
    transactionTimeoutMs: 30_000,
    patienceMs: 30_000,
  })
})
afterAll(async () => {
  await lanes?.stop()
  await cluster?.stop()
})

async function newTarget(): Promise<FencedPartition> {
  const { features: topic } = await lanes.newPipeline()
  return { transactionalId: `millrace/${topic}/0`, topic, partition: 0 }
}

const endOf = async ({ topic, partition }: FencedPartition): Promise<number> =>
  (await lanes.logReader.range(topic, partition)).end

test(`a zombie that writes without pause never lands above the fence, in ${CLAIMS} claims`, async () => {
  const target = await newTarget()
  let owner = await fencing.bumpEpoch(target, SIGNAL)
  let above = 0
  let landed = 0
  for (let claim = 0; claim < CLAIMS; claim++) {
    const zombie = startZombie(cluster.addresses, target.topic, owner)
    await zombie.awake
    owner = await fencing.bumpEpoch(target, SIGNAL)
    const marker = await fencing.fence(target, owner, SIGNAL)
    const { accepted, error } = await zombie.refused
    expect(error).toBe('INVALID_PRODUCER_EPOCH')
    landed += accepted.length
    above += accepted.filter((offset) => offset > marker).length
  }
  expect(landed).toBeGreaterThanOrEqual(CLAIMS)
  expect(above).toBe(0)
})

test('the same without the fence lands: with a new epoch alone, and with the answer to EndTxn alone', async () => {
  const target = await newTarget()
  const first = await fencing.bumpEpoch(target, SIGNAL)
  await writeAs(lanes.connections, target.topic, first, 0)
  await fencing.bumpEpoch(target, SIGNAL)
  const end = await endOf(target)
  expect(await writeAs(lanes.connections, target.topic, first, 1)).toMatchObject({ error: null, baseOffset: end })

  let landed = false
  let owner = await fencing.bumpEpoch(target, SIGNAL)
  for (let claim = 0; claim < CLAIMS && !landed; claim++) {
    const zombie = startZombie(cluster.addresses, target.topic, owner)
    await zombie.awake
    owner = await fencing.bumpEpoch(target, SIGNAL)
    await fencing.renew(target, owner, SIGNAL)
    const tail = await endOf(target)
    landed = (await zombie.refused).accepted.some((offset) => offset >= tail)
  }
  expect(landed).toBe(true)
})

test('the owner of an idle lane renews the fence before the broker forgets it; without, a zombie lands', async () => {
  const targets: { readonly target: FencedPartition; readonly zombie: ProducerIdentity }[] = []
  for (const fenceExpiryMs of [undefined, 3_600_000]) {
    const pipeline = await lanes.newPipeline()
    const lane = await laneOf(pipeline, pipeline.events, pipeline.features)
    const target = { transactionalId: `millrace/${lane.output}/0`, topic: pipeline.features, partition: 0 }
    const zombie = await fencing.bumpEpoch(target, SIGNAL)
    await writeAs(lanes.connections, target.topic, zombie, 0)
    // no output of any lane, so the tail is not read as one
    await fencing.fence(target, await fencing.bumpEpoch(target, SIGNAL), SIGNAL)
    await lanes
      .claims(fenceExpiryMs === undefined ? {} : { fenceExpiryMs })
      .claim(lane, { offset: 0, metadata: '' }, async () => true, SIGNAL)
    targets.push({ target, zombie })
  }
  const [renewed, forgotten] = targets as [(typeof targets)[0], (typeof targets)[0]]
  await eventually(
    async () => {
      const { error } = await writeAs(lanes.connections, forgotten.target.topic, forgotten.zombie, 1)
      expect(error).toBeNull()
    },
    { deadlineMs: RECOVERY_MS },
  )
  const { error } = await writeAs(lanes.connections, renewed.target.topic, renewed.zombie, 1)
  expect(error).toBe('INVALID_PRODUCER_EPOCH')
  // the coordinator has forgotten the other id long since, and gives it to a new producer
  expect((await fencing.bumpEpoch(renewed.target, SIGNAL)).id).toBe(renewed.zombie.id)
  expect((await fencing.bumpEpoch(forgotten.target, SIGNAL)).id).not.toBe(forgotten.zombie.id)
})
