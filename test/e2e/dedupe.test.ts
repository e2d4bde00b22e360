import path from 'node:path'
import { expect, inject, test } from 'vitest'
import { commandConnections } from '../../infra/cli/connections.ts'
import { parseAvroSchema, readAvroFile } from '../../infra/runtime/avro/avro-type.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { type RawRecord, writeRawRecords } from '../support/raw-records.ts'
import { runPipeline } from '../support/running-pipeline.ts'

const WINDOW = 5

test('an event whose id was read within the window is filtered, also by a process that has only just started', {
  timeout: 600_000,
}, async () => {
  const { env } = inject('stack')
  const { folder } = copyPipeline(FLIGHTS, (source) =>
    source.replace('  features:', `  dedupe: { window: ${WINDOW} },\n  features:`),
  )
  const run = await runPipeline(folder, env, { partitions: 1 })
  const { event } = run.pipeline
  const schemaId = await commandConnections({ ...process.env, ...env }).registry.register(event.subject, event.schema)
  const type = parseAvroSchema(event.schema, 'flights')
  const { value: flight } = await readAvroFile(path.join(FLIGHTS, 'data', 'events.avro')).next()
  const record = (id: string, headers?: Record<string, string>): RawRecord => ({
    partition: 0,
    key: id,
    value: type.encode(schemaId, { ...(flight as object), event_id: id }),
    ...(headers === undefined ? {} : { headers }),
  })

  await writeRawRecords(
    env,
    event.topic,
    ['a', 'b', 'a', 'c', 'd'].map((id) => record(id)),
  )
  await run.settled(5, 180_000)
  run.stage('processors').kill('SIGKILL')
  // b came at 1, within the window of 5; a at 2, which the window of 8 does not reach
  await writeRawRecords(env, event.topic, [
    record('b'),
    record('c', { 'millrace-replay-of': `${run.pipeline.name}.dead-letters-0-0` }),
    record('e'),
    record('a'),
    record('a'),
  ])
  const account = await run.settled(10, 180_000)
  expect(account).toMatchObject({ predicted: 7, duplicates: 0 })

  const letters = await run.clickhouse.rows<{ offset: string; kind: string; reason: string; id: string }>(
    `SELECT origin_offset AS offset, kind, reason, event_id AS id FROM dead_letters FINAL
     WHERE pipeline = {pipeline:String} ORDER BY origin_offset`,
    { pipeline: run.pipeline.name },
  )
  expect(letters.map(({ offset, kind, reason, id }) => [Number(offset), kind, reason, id])).toEqual([
    [2, 'filtered', 'duplicate_event_id', 'a'],
    [5, 'filtered', 'duplicate_event_id', 'b'],
    [9, 'filtered', 'duplicate_event_id', 'a'],
  ])
})
