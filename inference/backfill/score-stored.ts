import { nextOffset, noteProgress, readHistory, remaining, type Stretch } from './history.ts'
import { type BackfillWork, batchRows, createProgress, paced, storeScores } from './score-batch.ts'

/** What was scored now; `problems` of it the version has no answer for. */
export interface Scored {
  readonly rows: number
  readonly problems: number
}

/** Scores the stored features of the run's time. */
export async function scoreStored(work: BackfillWork): Promise<Scored> {
  const { clickhouse, run, patiently } = work
  const done = { rows: 0, problems: 0 }
  const progress = createProgress(work)
  // what is stored meanwhile is found in the next round
  for (;;) {
    const stretches = await patiently('what is to be scored', () => remaining(clickhouse, run))
    if (stretches.length === 0) return done
    const toDo = done.rows + stretches.reduce((sum, { rows }) => sum + rows, 0)
    for (const stretch of stretches) {
      await scoreStretch(work, stretch, ({ rows, problems }) => {
        done.rows += rows
        done.problems += problems
        progress(() => `scored ${done.rows} of ${toDo} rows (${stretch.day}, partition ${stretch.partition})`)
      })
    }
  }
}

async function scoreStretch(work: BackfillWork, stretch: Stretch, scored: (batch: Scored) => void): Promise<void> {
  const { clickhouse, run } = work
  const step = batchRows(work)
  let at = stretch.first
  while (at <= stretch.last) {
    const offsets = { from: at, to: Math.min(at + step, stretch.last + 1) }
    const batch = await paced(work, async () => {
      const rows = await readHistory(clickhouse, run, stretch, offsets)
      const problems = await storeScores(work, rows)
      const next = rows.length > 0 ? offsets.to : await nextOffset(clickhouse, run, stretch, offsets.to)
      await noteProgress(clickhouse, run, stretch, next)
      return { rows: rows.length, problems, next }
    })
    scored(batch)
    at = batch.next
  }
}
