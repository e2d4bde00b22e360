import fc from 'fast-check'
import { expect, test } from 'vitest'
import { changesOf, type JudgedWindow, NEVER_FIRED, type RuleState } from '../../sinks/drift/alerts/alert-state.ts'

const verdicts = fc.array(
  fc.record({
    judged: fc.boolean(),
    bad: fc.uniqueArray(fc.constantFrom('a', 'b', 'c')),
    silent: fc.uniqueArray(fc.constantFrom('a', 'b', 'c')),
  }),
  { maxLength: 40 },
)

const windowsOf = (said: readonly Omit<JudgedWindow, 'start' | 'end'>[]): readonly JudgedWindow[] =>
  said.map(({ judged, bad, silent }, index) => ({
    start: index,
    end: index + 1,
    judged: judged || bad.length > 0,
    bad,
    silent: silent.filter((series) => !bad.includes(series)),
  }))

test('changes alternate, move forward, and each has its k windows that say so', () => {
  fc.assert(
    fc.property(verdicts, fc.integer({ min: 1, max: 4 }), (said, consecutive) => {
      let before: RuleState = NEVER_FIRED
      for (const { state, windows, series } of changesOf(NEVER_FIRED, windowsOf(said), consecutive)) {
        expect(state).not.toBe(before.state)
        expect(windows).toHaveLength(consecutive)
        for (const window of windows) {
          expect(window.end).toBeGreaterThan(before.until)
          if (state === 'resolved') expect(window).toMatchObject({ judged: true, bad: [] })
          else for (const one of series) expect(window.bad).toContain(one)
        }
        before = { state, until: windows.at(-1)?.end ?? Number.NaN }
      }
    }),
  )
})

test('whoever takes over after any change goes on with the same changes', () => {
  fc.assert(
    fc.property(verdicts, fc.integer({ min: 1, max: 4 }), (said, consecutive) => {
      const windows = windowsOf(said)
      const all = changesOf(NEVER_FIRED, windows, consecutive)
      all.forEach(({ state, windows: decided }, index) => {
        const until = decided.at(-1)?.end ?? Number.NaN
        expect(changesOf({ state, until }, windows, consecutive)).toEqual(all.slice(index + 1))
      })
    }),
  )
})

test('windows as they come, one more each time, bring the same changes as all at once', () => {
  fc.assert(
    fc.property(verdicts, fc.integer({ min: 1, max: 4 }), (said, consecutive) => {
      const windows = windowsOf(said)
      let state: RuleState = NEVER_FIRED
      const found = windows.flatMap((_, index) => {
        const changes = changesOf(state, windows.slice(0, index + 1), consecutive)
        const last = changes.at(-1)
        if (last !== undefined) state = { state: last.state, until: last.windows.at(-1)?.end ?? Number.NaN }
        return changes
      })
      expect(found).toEqual(changesOf(NEVER_FIRED, windows, consecutive))
    }),
  )
})
