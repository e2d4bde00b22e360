import { expect, test } from 'vitest'
import { createLaneMemory } from '../../infra/runtime/lane-memory.ts'

const MB = 1_048_576

test('what is above the memory of an idle process is shared out among all lanes of all sources, as they come and go', () => {
  const memory = createLaneMemory({ maxMemoryBytes: 512 * MB, maxLaneBytes: 4 * MB })
  let predictions = 0
  let labels = 0
  const ofPredictions = memory.share(() => predictions)
  const ofLabels = memory.share(() => labels)
  expect([ofPredictions(), ofLabels()]).toEqual([4 * MB, 4 * MB])
  predictions = 16
  expect([ofPredictions(), ofLabels()]).toEqual([4 * MB, 4 * MB])
  labels = 48
  expect([ofPredictions(), ofLabels()]).toEqual([MB, MB])
  predictions = 100_000
  expect(ofPredictions()).toBe(65_536)
})
