import { createHash, randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'

/*
 * The text of an API key:
 *
 *   mr_<environment>_<key id>_<secret>_<crc>
 *
 *   environment  1 to 16 of a-z 0-9: where the key belongs, e.g. live or dev; for people and secret scanners
 *   key id       12 of 0-9 A-Z a-z, random: the key's name in the control log
 *   secret       43 of 0-9 A-Z a-z: 256 random bits, base 62, most significant digit first
 *   crc          6 of 0-9 A-Z a-z: CRC-32 (IEEE) of everything before its underscore, base 62
 *
 * A text whose crc is wrong was never a key: it is refused without asking anybody.
 */
const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const SECRET_BYTES = 32
const ID_LENGTH = 12
const SECRET_LENGTH = 43
const CRC_LENGTH = 6
const LAYOUT = /^(mr_[a-z0-9]{1,16}_([0-9A-Za-z]{12})_([0-9A-Za-z]{43}))_([0-9A-Za-z]{6})$/
const ENVIRONMENT = /^[a-z0-9]{1,16}$/

export interface KeyText {
  readonly id: string
  readonly secret: string
}

/** Whether the text looks like an API key, right or wrong: no JWT begins so. */
export function claimsToBeKey(text: string): boolean {
  return text.startsWith('mr_')
}

export function isEnvironment(text: string): boolean {
  return ENVIRONMENT.test(text)
}

/** A new random key. `environment` must be one (`isEnvironment`). */
export function makeKey(environment: string): KeyText & { readonly text: string } {
  const id = base62(randomBytes(ID_LENGTH), ID_LENGTH)
  const secret = base62(randomBytes(SECRET_BYTES), SECRET_LENGTH)
  const body = `mr_${environment}_${id}_${secret}`
  return { id, secret, text: `${body}_${crcText(body)}` }
}

/** Null when it is no key: another layout, or damaged. */
export function parseKey(text: string): KeyText | null {
  const [, body, id, secret, crc] = LAYOUT.exec(text) ?? []
  if (body === undefined || id === undefined || secret === undefined) return null
  return crcText(body) === crc ? { id, secret } : null
}

/** SHA-256: of 256 random bits nothing slower is needed. */
export function hashSecret(secret: string): Buffer {
  return createHash('sha256').update(secret, 'latin1').digest()
}

function crcText(body: string): string {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(crc32(Buffer.from(body, 'latin1')))
  return base62(bytes, CRC_LENGTH)
}

/** The last `length` digits of the number that the bytes are, big-endian. */
function base62(bytes: Buffer, length: number): string {
  let number = BigInt(`0x${bytes.toString('hex')}`)
  let text = ''
  for (let digit = 0; digit < length; digit++) {
    text = (DIGITS[Number(number % 62n)] as string) + text
    number /= 62n
  }
  return text
}
