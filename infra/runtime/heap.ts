import { getHeapStatistics, setFlagsFromString } from 'node:v8'

/** What may be made before everything is collected. */
const ROOM_BYTES = 67_108_864
/** Four times what was left is the most that V8 chooses by itself, in a heap of its default size. */
const MOST_PERCENT = 300

/**
 * For a process that moves records, once it has what it keeps: lets its heap grow by 64 MB, or to four times of what it is,
 * before all of it is collected. Buffers count as heap, and most of what such a process makes are buffers that live for
 * milliseconds. V8, left alone, lets a small heap grow by 8 MB, which a hop fetches, packs and writes in a tenth of a second; so
 * often was everything collected, for a quarter of the CPU of a hop that runs a model. A heap that is larger than that
 * room is left to V8, and so are buffers of more than 64 MB beside those that were left.
 */
export function collectSeldom(): void {
  const percent = Math.round((100 * ROOM_BYTES) / getHeapStatistics().used_heap_size)
  if (percent > 100) setFlagsFromString(`--heap-growing-percent=${Math.min(percent, MOST_PERCENT)}`)
}
