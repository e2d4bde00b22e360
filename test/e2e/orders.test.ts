import { expect, inject, test } from 'vitest'
import { copyPipeline, ORDERS } from '../support/pipeline-copy.ts'
import { runPipeline } from '../support/running-pipeline.ts'
import { spawnNode } from '../support/spawn-process.ts'

/** 21 orders are never decided. */
const DECIDED = 479
const CLASSES = ['accept', 'refuse', 'review']

test('a pipeline with enums, booleans, nullable integers and three classes runs through all stages', {
  timeout: 600_000,
}, async () => {
  const { name, folder } = copyPipeline(ORDERS)
  const run = await runPipeline(folder, inject('stack').env)
  expect(await run.replay({ rate: 'max' }).exited).toBe(0)
  expect(await run.settled(500, 180_000)).toMatchObject({
    predicted: 500,
    deadLetters: [],
    duplicates: 0,
    labels: DECIDED,
    labelsStored: DECIDED,
  })

  const view = name.replaceAll('-', '_')
  const [predictions] = await run.clickhouse.rows(
    `SELECT toUInt32(count()) AS n, arraySort(groupUniqArray(label)) AS labels, arraySort(groupUniqArray(channel)) AS channels,
            toUInt32(countIf(length(outputs) = 3 AND score = arrayMax(outputs))) AS most_probable,
            groupUniqArray(toTypeName(gift)) AS gift, groupUniqArray(tenant) AS tenants,
            toUInt32(countIf(isNull(country))) > 0 AS unknown_countries
     FROM ${view}_predictions`,
  )
  expect(predictions).toEqual({
    n: 500,
    labels: CLASSES,
    channels: ['PHONE', 'STORE', 'WEB'],
    most_probable: 500,
    gift: ['Nullable(Bool)'],
    tenants: ['shop'],
    unknown_countries: 1,
  })
  const [quality] = await run.clickhouse.rows(
    `SELECT toUInt32(count()) AS n, groupUniqArray(label_kind) AS kinds, arraySort(groupUniqArray(label_class)) AS classes,
            toUInt32(countIf(correct = (label = label_class))) AS judged, avg(correct) > 0.5 AS better_than_guessing
     FROM ${view}_quality`,
  )
  expect(quality).toEqual({ n: DECIDED, kinds: ['class'], classes: CLASSES, judged: DECIDED, better_than_guessing: 1 })
})

test('its golden events pass `millrace test`', async () => {
  const command = spawnNode(['infra/cli/main.ts', 'test', ORDERS])
  expect(await command.exited, command.output()).toBe(0)
  expect(command.output()).toMatch(/^13 golden events passed, 0 failed$/m)
})
