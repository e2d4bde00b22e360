import { writeLong } from '../../../infra/runtime/avro/avro-bytes.ts'
import { MAX_DEPTH, MAX_EVENT_BYTES } from '../limits.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
/** What is written between two looks at how full the buffer is. */
const SLACK_BYTES = 256
/** Texts below it have a length of one byte. */
const SHORT_TEXT = 64

/** What a JSON value begins with. */
export const KIND = { none: 0, null: 1, boolean: 2, number: 3, string: 4, array: 5, object: 6 } as const
const KIND_NAMES = ['nothing', 'null', 'a boolean', 'a number', 'a string', 'an array', 'an object']
const KINDS = new Uint8Array(256)
for (const [characters, kind] of [
  ['n', KIND.null],
  ['tf', KIND.boolean],
  ['-0123456789', KIND.number],
  ['"', KIND.string],
  ['[', KIND.array],
  ['{', KIND.object],
] as const) {
  for (const byte of Buffer.from(characters)) KINDS[byte] = kind
}

/** Powers of ten that a double holds exactly. */
const POWERS = Array.from({ length: 16 }, (_, exponent) => 10 ** exponent)
/** Digits that a double always holds exactly. */
const EXACT_DIGITS = 15

/**
 * Where a reader stands in JSON text (UTF-8 that is known to be valid), and the Avro that has come of it so far. Whatever
 * reads a value leaves `at` behind it and answers true, or says what is wrong, by `fail`, and answers false.
 */
export class JsonCursor {
  bytes: Buffer = Buffer.alloc(0)
  at = 0
  end = 0
  /** Twice the largest event: fields that came in another order are put in order behind what is there. */
  readonly out: Buffer = Buffer.allocUnsafeSlow(2 * MAX_EVENT_BYTES + SLACK_BYTES)
  readonly view: DataView = new DataView(this.out.buffer, this.out.byteOffset, this.out.length)
  pos = 0
  depth = 0
  /** Where fields of the records that are being read begin and end in `out`; -1 = not read. A record takes its part of it. */
  starts: Int32Array = new Int32Array(256)
  ends: Int32Array = new Int32Array(256)
  slots = 0

  code = ''
  detail = ''
  #path: (string | number)[] = []

  /** Of the number that was read last: its digits without the point, its sign, digits behind the point. */
  digits = 0
  fraction = 0
  /** False: only the text from `numberAt` to `at` says what it is. */
  simple = true
  numberAt = 0

  reset(bytes: Buffer, at: number, end: number): void {
    this.bytes = bytes
    this.at = at
    this.end = end
    this.pos = 0
    this.depth = 0
    this.slots = 0
    this.code = ''
    this.detail = ''
    this.#path = []
  }

  fail(code: string, detail: string): false {
    this.code = code
    this.detail = detail
    return false
  }

  /** The problem is inside this member or item. */
  under(segment: string | number): false {
    this.#path.push(segment)
    return false
  }

  /** Where the problem is, as a JSON Pointer. */
  get pointer(): string {
    return this.#path
      .map((segment) => `/${String(segment).replaceAll('~', '~0').replaceAll('/', '~1')}`)
      .reverse()
      .join('')
  }

  syntax(expected: string): false {
    const found = this.at < this.end ? 'something else' : 'the end'
    return this.fail('invalid_json', `${expected} is expected at byte ${this.at}, there is ${found}`)
  }

  kind(): number {
    return this.at < this.end ? (KINDS[this.bytes[this.at] as number] as number) : KIND.none
  }

  /** The value that begins here is not what is expected. */
  unexpected(expected: string): false {
    const kind = this.kind()
    if (kind === KIND.none) return this.syntax('a value')
    return this.fail('wrong_type', `${expected} is expected, there is ${KIND_NAMES[kind] as string}`)
  }

  space(): void {
    const { bytes, end } = this
    let at = this.at
    while (at < end) {
      const byte = bytes[at] as number
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) break
      at++
    }
    this.at = at
  }

  /** Goes into an object or array that begins here. */
  enter(): boolean {
    if (++this.depth > MAX_DEPTH) return this.fail('too_deep', `values may be ${MAX_DEPTH} deep`)
    this.at++
    this.space()
    return true
  }

  /** Moves over `character` and the space around it, if it is there. */
  passed(character: number): boolean {
    if ((this.bytes[this.at] as number) <= 0x20) this.space()
    if (this.at >= this.end || this.bytes[this.at] !== character) return false
    this.at++
    if ((this.bytes[this.at] as number) <= 0x20) this.space()
    return true
  }

  word(text: string): boolean {
    const { bytes, at } = this
    for (let index = 0; index < text.length; index++) {
      if (at + index >= this.end || bytes[at + index] !== text.charCodeAt(index)) return this.syntax(text)
    }
    this.at = at + text.length
    return true
  }

  /** True while there is room for what is written between two calls. */
  room(more = 0): boolean {
    if (this.pos + more <= MAX_EVENT_BYTES) return true
    return this.fail('too_large', `an event may have ${MAX_EVENT_BYTES} bytes`)
  }

  /** Reads a number: `digits`, `fraction`, and whether that is all of it. */
  number(): boolean {
    const { bytes } = this
    let at = this.at
    this.numberAt = at
    const negative = bytes[at] === 0x2d
    if (negative) at++
    const first = at
    let byte = bytes[at] as number
    let digits = 0
    while (byte >= 0x30 && byte <= 0x39) {
      digits = digits * 10 + (byte - 0x30)
      byte = bytes[++at] as number
    }
    let count = at - first
    if (count === 0 || (count > 1 && bytes[first] === 0x30)) return this.#badNumber(first)
    let fraction = 0
    if (byte === 0x2e) {
      const point = at
      byte = bytes[++at] as number
      while (byte >= 0x30 && byte <= 0x39) {
        digits = digits * 10 + (byte - 0x30)
        byte = bytes[++at] as number
      }
      fraction = at - point - 1
      if (fraction === 0) return this.#badNumber(at)
      count += fraction
    }
    this.simple = count <= EXACT_DIGITS
    if (byte === 0x65 || byte === 0x45) {
      this.simple = false
      byte = bytes[++at] as number
      if (byte === 0x2b || byte === 0x2d) byte = bytes[++at] as number
      const power = at
      while (byte >= 0x30 && byte <= 0x39) byte = bytes[++at] as number
      if (at === power) return this.#badNumber(at)
    }
    this.digits = negative ? -digits : digits
    this.fraction = fraction
    this.at = at
    return true
  }

  #badNumber(at: number): false {
    this.at = Math.min(at, this.end)
    return this.syntax('a number as JSON has it')
  }

  /** The number that was read last, as the nearest double; infinite beyond all of them. */
  double(): number {
    if (this.simple) return this.fraction === 0 ? this.digits : this.digits / (POWERS[this.fraction] as number)
    return Number(this.numberText())
  }

  numberText(): string {
    return this.bytes.toString('latin1', this.numberAt, this.at)
  }

  /** Writes the string that begins here. */
  writeString(): boolean {
    if (!this.room()) return false
    const { bytes, out } = this
    const start = this.at + 1
    const stop = Math.min(this.end, start + SHORT_TEXT)
    let to = this.pos + 1
    for (let at = start; at < stop; at++) {
      const byte = bytes[at] as number
      if (byte === QUOTE) {
        out[this.pos] = (at - start) << 1
        this.pos = to
        this.at = at + 1
        return true
      }
      if (byte === BACKSLASH || byte < 0x20) break
      out[to++] = byte
    }
    const close = this.#closeOf(start)
    if (close < 0) return false
    this.at = close + 1
    if (!this.#escaped) {
      if (!this.room(close - start)) return false
      this.pos = writeLong(out, this.pos, close - start)
      this.pos += bytes.copy(out, this.pos, start, close)
      return true
    }
    const text = this.#unescape(start, close)
    return text !== null && this.write(text)
  }

  /** Writes a text. */
  write(text: string): boolean {
    const length = Buffer.byteLength(text)
    if (!this.room(length)) return false
    this.pos = writeLong(this.out, this.pos, length)
    this.pos += this.out.write(text, this.pos, length, 'utf8')
    return true
  }

  /** The string that begins here; null = it cannot be read. */
  text(): string | null {
    const start = this.at + 1
    const close = this.#closeOf(start)
    if (close < 0) return null
    this.at = close + 1
    return this.#escaped ? this.#unescape(start, close) : this.bytes.toString('utf8', start, close)
  }

  /** Moves over the string that begins here, whatever its escapes stand for. */
  passString(): boolean {
    const start = this.at + 1
    const close = this.#closeOf(start)
    if (close < 0) return false
    this.at = close + 1
    return !this.#escaped || this.#parse(start, close) !== null
  }

  #escaped = false

  /** Where the string that begins here ends; -1 = it does not. */
  #closeOf(start: number): number {
    const { bytes, end } = this
    this.#escaped = false
    for (let at = start; at < end; at++) {
      const byte = bytes[at] as number
      if (byte === QUOTE) return at
      if (byte === BACKSLASH) {
        this.#escaped = true
        at++
      } else if (byte < 0x20) {
        this.at = at
        this.fail('invalid_json', `the control character at byte ${at} must be escaped`)
        return -1
      }
    }
    this.at = end
    this.syntax('the end of a string')
    return -1
  }

  #unescape(start: number, close: number): string | null {
    const text = this.#parse(start, close)
    if (text === null || text.isWellFormed()) return text
    this.fail('lone_surrogate', 'an escape is half of a character')
    return null
  }

  #parse(start: number, close: number): string | null {
    try {
      return JSON.parse(this.bytes.toString('utf8', start - 1, close + 1)) as string
    } catch {
      this.fail('invalid_json', `an escape in the string at byte ${start - 1} is none`)
      return null
    }
  }
}

/** Of the process: whoever reads with it is done before anybody else begins. */
export const jsonCursor = new JsonCursor()
