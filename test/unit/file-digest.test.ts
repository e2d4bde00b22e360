import { createHash } from 'node:crypto'
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { writeDigested } from '../../inference/models/store/written-file.ts'
import { contentOf, digestOf, digestOfFile, readDigested } from '../../schemas/file-digest.ts'

const PIECE = 262_144

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-digest-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
})

const contentWith = (size: number): Buffer => Buffer.from(Uint8Array.from({ length: size }, (_, at) => at % 251))
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

test.each([0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 7])(
  'the digest of %i bytes is one, however they are read or written',
  async (size) => {
    const content = contentWith(size)
    const expected = { sha256: sha256(content), size }
    const [file, copy] = [join(folder, 'file'), join(folder, 'copy')]
    writeFileSync(file, content)
    expect(await digestOfFile(file)).toEqual(expected)
    expect(await readDigested(file)).toEqual({ bytes: content, sha256: expected.sha256 })
    expect(await writeDigested(contentOf(file), copy)).toEqual(expected)
    expect(readFileSync(copy).equals(content)).toBe(true)
    expect(statSync(copy).mode & 0o222).toBe(0)
  },
)

test('bytes are those of their digest, also of a file that grows while it is read', async () => {
  const file = join(folder, 'file')
  writeFileSync(file, contentWith(PIECE))
  const reading = readDigested(file)
  appendFileSync(file, 'more')
  const { bytes, sha256: digest } = await reading
  expect(digest).toBe(sha256(bytes))
})

test('a piece is passed on before the next is asked for', async () => {
  const told: string[] = []
  async function* content(): AsyncGenerator<Buffer> {
    for (const name of ['a', 'b']) {
      told.push(`asked for ${name}`)
      yield Buffer.from(name)
    }
  }
  await digestOf(content(), async (piece) => {
    await Promise.resolve()
    told.push(`passed on ${Buffer.from(piece)}`)
  })
  expect(told).toEqual(['asked for a', 'passed on a', 'asked for b', 'passed on b'])
})

test('a file that cannot be read has no digest, and nothing is left of one that was not written whole', async () => {
  const [absent, copy] = [join(folder, 'absent'), join(folder, 'copy')]
  await expect(digestOfFile(absent)).rejects.toMatchObject({ code: 'ENOENT' })
  await expect(readDigested(absent)).rejects.toMatchObject({ code: 'ENOENT' })
  async function* broken(): AsyncGenerator<Buffer> {
    yield Buffer.from('half')
    throw new Error('gone')
  }
  await expect(writeDigested(broken(), copy)).rejects.toThrow('gone')
  expect(existsSync(copy)).toBe(false)
})
