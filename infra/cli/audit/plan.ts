import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { consumerGroup, stageTopic } from '../../../schemas/topics.ts'
import { fatal } from '../../runtime/errors.ts'
import type { KafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import type { LogRange, LogReader } from '../../runtime/kafka/log-reader.ts'

/** Offsets [from, to) of one partition. */
export interface Span {
  readonly from: number
  readonly to: number
}

/** What is audited of one lane. A topic that has no such partition has an empty span. */
export interface LanePlan {
  readonly partition: number
  /** Events whose ends are looked for. */
  readonly events: Span
  /** The topic whose retention sets `events.from`; null = it reaches back to where the events do, or to where it was asked for. */
  readonly limitedBy: string | null
  /** Read for the ends of events. */
  readonly features: Span
  readonly predictions: Span
  readonly deadLetters: Span
  /** Records whose rows are looked for. */
  readonly storedPredictions: Span
  readonly storedLabels: Span
  /** What each stage has committed: everything below has ended there. 0 = nothing. */
  readonly committed: Readonly<Record<'processors' | 'inference' | 'predictions' | 'labels', number>>
}

export interface AuditTopics {
  readonly events: string
  readonly features: string
  readonly predictions: string
  readonly deadLetters: string
  readonly labels: string | null
}

/** Epoch ms; by append time. */
export interface AuditWindow {
  readonly from: number | null
  readonly to: number | null
}

/** Brokers' clocks differ by less. */
const CLOCKS_DIFFER_MS = 60_000
const NOTHING: Span = { from: 0, to: 0 }

export function auditTopics({ name, event, label }: CompiledPipeline): AuditTopics {
  return {
    events: event.topic,
    features: stageTopic(name, 'features'),
    predictions: stageTopic(name, 'predictions'),
    deadLetters: stageTopic(name, 'dead-letters'),
    labels: label?.topic ?? null,
  }
}

/**
 * Notes what the stages have committed, then where the logs end: whatever lies below a committed position has left its trace
 * before the end that is noted after it.
 */
export async function planLanes(
  deps: { readonly admin: KafkaAdmin; readonly reader: LogReader; readonly now: number },
  pipeline: CompiledPipeline,
  window: AuditWindow,
): Promise<readonly LanePlan[]> {
  const { admin, reader } = deps
  const topics = auditTopics(pipeline)
  const all = Object.values(topics).filter((topic) => topic !== null)
  const counts = await admin.partitionCounts(all)
  const absent = all.find((topic) => !counts.has(topic))
  if (absent !== undefined) throw fatal('unknown_topic', `topic ${absent} does not exist: run millrace topics`)

  const committedBy = (stage: string, topic: string) => admin.committed(consumerGroup(pipeline.name, stage), topic)
  const committed = {
    processors: await committedBy('processors', topics.events),
    inference: await committedBy('inference', topics.features),
    predictions: await committedBy('sinks.predictions', topics.predictions),
    labels: topics.labels === null ? new Map<number, number>() : await committedBy('sinks.labels', topics.labels),
  }
  const offsetsAt = timeIndex(admin)
  /** First offset at or after the time; the range's own start without one. */
  const since = async (topic: string, partition: number, time: number | null, fallback: number): Promise<number> =>
    time === null ? fallback : Math.max(fallback, (await offsetsAt(topic, time)).get(partition) ?? fallback)
  const rangeOf = async (topic: string | null, partition: number): Promise<LogRange> =>
    topic === null || partition >= (counts.get(topic) ?? 0)
      ? { start: 0, end: 0 }
      : await reader.range(topic, partition)
  // an output is appended after its event, unless the events carry times of their producers' own
  const outputsFrom = window.from === null || !pipeline.event.owned ? null : window.from - CLOCKS_DIFFER_MS

  async function planLane(partition: number): Promise<LanePlan> {
    const ranges = {
      events: await rangeOf(topics.events, partition),
      features: await rangeOf(topics.features, partition),
      predictions: await rangeOf(topics.predictions, partition),
      deadLetters: await rangeOf(topics.deadLetters, partition),
      labels: await rangeOf(topics.labels, partition),
    }
    const { events, limitedBy } =
      partition < (counts.get(topics.events) ?? 0)
        ? await eventsWithEnds(partition, ranges)
        : { events: NOTHING, limitedBy: null }
    const output = async (topic: string, { start, end }: LogRange): Promise<Span> => ({
      from: await since(topic, partition, outputsFrom, start),
      to: end,
    })
    const stored = async (topic: string | null, { start, end }: LogRange): Promise<Span> =>
      topic === null
        ? NOTHING
        : {
            from: await since(topic, partition, window.from, start),
            to: window.to === null ? end : Math.min(end, (await offsetsAt(topic, window.to)).get(partition) ?? end),
          }
    return {
      partition,
      events,
      limitedBy,
      features: await output(topics.features, ranges.features),
      predictions: await output(topics.predictions, ranges.predictions),
      deadLetters: await output(topics.deadLetters, ranges.deadLetters),
      storedPredictions: await stored(topics.predictions, ranges.predictions),
      storedLabels: await stored(topics.labels, ranges.labels),
      committed: {
        processors: committed.processors.get(partition) ?? 0,
        inference: committed.inference.get(partition) ?? 0,
        predictions: committed.predictions.get(partition) ?? 0,
        labels: committed.labels.get(partition) ?? 0,
      },
    }
  }

  /** Events whose ends no topic can have deleted: they were appended after the oldest record that each output still has. */
  async function eventsWithEnds(
    partition: number,
    ranges: Readonly<Record<'events' | 'predictions' | 'deadLetters', LogRange>>,
  ): Promise<{ readonly events: Span; readonly limitedBy: string | null }> {
    const { start, end } = ranges.events
    const { topic: limiting, from: kept } = await keptSince(partition, ranges, start)
    const asked = await since(topics.events, partition, window.from, start)
    const to = window.to === null ? end : ((await offsetsAt(topics.events, window.to)).get(partition) ?? end)
    const from = Math.max(asked, kept)
    return { events: { from, to: Math.max(from, Math.min(end, to)) }, limitedBy: kept > asked ? limiting : null }
  }

  async function keptSince(
    partition: number,
    ranges: Readonly<Record<'predictions' | 'deadLetters', LogRange>>,
    start: number,
  ): Promise<{ readonly topic: string | null; readonly from: number }> {
    let kept: { readonly topic: string | null; readonly from: number } = { topic: null, from: start }
    for (const [topic, range] of [
      [topics.predictions, ranges.predictions],
      [topics.deadLetters, ranges.deadLetters],
    ] as const) {
      if (range.start === 0) continue
      const oldest =
        (await firstTimestamp(reader, topic, partition, range)) ?? deps.now - (await retentionOf(admin, topic))
      const from = await since(topics.events, partition, oldest + CLOCKS_DIFFER_MS, start)
      if (from > kept.from) kept = { topic, from }
    }
    return kept
  }

  const lanes = Math.max(counts.get(topics.events) ?? 0, counts.get(topics.labels ?? topics.events) ?? 0)
  return await Promise.all(Array.from({ length: lanes }, (_, partition) => planLane(partition)))
}

/** Null when the log is empty. */
async function firstTimestamp(
  reader: LogReader,
  topic: string,
  partition: number,
  range: LogRange,
): Promise<number | null> {
  for await (const { length, timestamps } of reader.read(topic, partition, range.start, range.end)) {
    if (length > 0) return timestamps[0] as number
  }
  return null
}

async function retentionOf(admin: KafkaAdmin, topic: string): Promise<number> {
  const retention = Number((await admin.topicConfig(topic, ['retention.ms'])).get('retention.ms') ?? 0)
  return Math.max(0, retention)
}

/** Each time is asked for once, for all partitions. */
function timeIndex(admin: KafkaAdmin): (topic: string, time: number) => Promise<ReadonlyMap<number, number>> {
  const answers = new Map<string, Promise<ReadonlyMap<number, number>>>()
  return (topic, time) => {
    const key = `${topic}\n${time}`
    const known = answers.get(key) ?? admin.offsetsAt(topic, time)
    answers.set(key, known)
    return known
  }
}
