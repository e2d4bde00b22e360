import { setFlagsFromString } from 'node:v8'

/** To four times what was left: the most that V8 chooses by itself, when it finds that it collects too often. */
const GROWTH_PERCENT = 300

/**
 * Lets the heap grow to four times what a full collection left of it before the next one. For processes that move records:
 * buffers count as heap, and most of what they make are buffers that live for milliseconds. V8, left alone, lets a small heap
 * grow by 8 MB, which a hop fetches, packs and writes in a tenth of a second; so often was everything collected, for a fifth to
 * a third of the CPU of a hop that runs a model. What buffers take is bounded beside this: V8 collects when they are 64 MB more
 * than the last time.
 */
export function collectSeldom(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`)
}
