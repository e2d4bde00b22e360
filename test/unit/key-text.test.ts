import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { claimsToBeKey, hashSecret, makeKey, parseKey } from '../../ingest/access/key-text.ts'

const environment = fc.stringMatching(/^[a-z0-9]{1,16}$/)

test('a key has its layout, and is read back', () => {
  fc.assert(
    fc.property(environment, (name) => {
      const { id, secret, text } = makeKey(name)
      expect(text).toMatch(new RegExp(`^mr_${name}_[0-9A-Za-z]{12}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}$`))
      expect(parseKey(text)).toEqual({ id, secret })
      expect(claimsToBeKey(text)).toBe(true)
    }),
  )
})

test('a key that is damaged in one character is none', () => {
  fc.assert(
    fc.property(environment, fc.nat(), fc.string({ unit: 'grapheme-ascii', maxLength: 1 }), (name, at, instead) => {
      const { text } = makeKey(name)
      const place = at % text.length
      fc.pre(text[place] !== instead)
      expect(parseKey(text.slice(0, place) + instead + text.slice(place + 1))).toBe(null)
    }),
    { numRuns: 2_000 },
  )
})

test('a key with two characters exchanged, cut off, or with something about it is none', () => {
  const { text } = makeKey('live')
  for (let at = 0; at + 1 < text.length; at++) {
    const [one = '', other = ''] = [text[at], text[at + 1]]
    if (one !== other) expect(parseKey(text.slice(0, at) + other + one + text.slice(at + 2))).toBe(null)
    expect(parseKey(text.slice(0, at))).toBe(null)
  }
  for (const other of [`${text} `, ` ${text}`, `${text}\n`, text.toUpperCase(), '', 'mr_', `${text}${text}`]) {
    expect(parseKey(other)).toBe(null)
  }
})

test('the layout stays: keys that were handed out are read by later versions', () => {
  const secret = 'VIAktt6OuCR0YksWxQp79CYoZyY9PXJ84FHdgpOZPZE'
  expect(parseKey(`mr_dev_HRtV7dDThah6_${secret}_4CaquG`)).toEqual({ id: 'HRtV7dDThah6', secret })
})

test('no two secrets alike, each of 256 bits; of a secret only the SHA-256 is kept', () => {
  const secrets = new Set(Array.from({ length: 1_000 }, () => makeKey('dev').secret))
  expect(secrets.size).toBe(1_000)
  // fewer bits would lead with zeros
  expect([...secrets].filter((secret) => secret.startsWith('00')).length).toBeLessThan(20)
  expect(hashSecret('abc').toString('hex')).toBe(createHash('sha256').update('abc').digest('hex'))
})
