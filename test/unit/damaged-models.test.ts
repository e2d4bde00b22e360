import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { DEFAULT_LIMITS, type ProbationReport } from '../../inference/models/probation/probation.ts'
import { createProbation, type Probation } from '../../inference/models/probation/probe.ts'
import { DAMAGES, damagedCopy } from '../support/damaged-copies.ts'
import { seededRandom } from '../support/seeded-random.ts'

const MODEL_1 = 'infra/sample/flights/models/1'
const COPIES = 1_000
const SEED = 20_130_101
const CHILDREN = 2
const TIMEOUT_MS = 600_000
const LIMITS = { ...DEFAULT_LIMITS, timeMs: 20_000, memoryBytes: 1_073_741_824, rows: 64, measure: false }

const model = readFileSync(path.join(MODEL_1, 'model.onnx'))
const manifest = readFileSync(path.join(MODEL_1, 'manifest.json'), 'utf8')
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

function* copies(): Generator<Buffer> {
  const random = seededRandom(SEED)
  const kinds = Object.keys(DAMAGES) as (keyof typeof DAMAGES)[]
  for (let at = 0; at < COPIES; at++) yield damagedCopy(model, kinds[at % kinds.length] as keyof typeof DAMAGES, random)
}

/** Every copy through probation, in children that are started anew when one dies of it. */
async function judgeAll(manifestOf: (copy: Buffer) => string): Promise<readonly ProbationReport[]> {
  const left = copies()
  const reports: ProbationReport[] = []
  const work = async (probation: Probation): Promise<void> => {
    const folder = mkdtempSync(path.join(tmpdir(), 'millrace-damaged-'))
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
    mkdirSync(folder, { recursive: true })
    for (const copy of left) {
      writeFileSync(path.join(folder, 'model.onnx'), copy)
      writeFileSync(path.join(folder, 'manifest.json'), manifestOf(copy))
      reports.push(await probation.judge(folder))
    }
  }
  await Promise.all(
    Array.from({ length: CHILDREN }, async () => {
      const probation = createProbation(LIMITS)
      try {
        await work(probation)
      } finally {
        await probation.close()
      }
    }),
  )
  return reports
}

function counts(reports: readonly ProbationReport[]): Readonly<Record<string, number>> {
  const found: Record<string, number> = {}
  for (const { refusal } of reports) {
    const what = refusal === null ? 'not noticed' : `${refusal.step}: ${refusal.code}`
    found[what] = (found[what] ?? 0) + 1
  }
  return found
}

test(
  'a damaged model is refused by its digest, each of 1,000',
  async () => {
    expect(counts(await judgeAll(() => manifest))).toEqual({ 'files: digest': COPIES })
  },
  TIMEOUT_MS,
)

test(
  'without the digest, structure, load and golden rows find most of 1,000 damaged models, and none ends this process',
  async () => {
    const original = sha256(model)
    const found = counts(await judgeAll((copy) => manifest.replace(original, sha256(copy))))
    const caught = COPIES - (found['not noticed'] ?? 0)
    process.stdout.write(
      `of ${COPIES} damaged models ${caught} are found without the digest: ${JSON.stringify(found)}\n`,
    )
    // 915 as measured; the same copies every time
    expect(caught).toBeGreaterThanOrEqual(900)
  },
  TIMEOUT_MS,
)
