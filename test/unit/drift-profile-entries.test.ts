import { expect, test } from 'vitest'
import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import type { ProfileEntry, ReferenceProfile } from '../../schemas/control/profiles.ts'
import { acceptProfile, proposeProfile } from '../../sinks/drift/profiles/change-profiles.ts'
import {
  acceptedProfile,
  digestOfProfile,
  knownProfile,
  knownProfiles,
} from '../../sinks/drift/profiles/profile-entries.ts'
import { memoryControlLog } from '../support/memory-control-log.ts'

const BY = { actor: 'ann', reason: 'test' }

function contentOf(rows: number): ReferenceProfile {
  return {
    model: 'trip',
    featureSet: 'digest',
    source: { kind: 'file', name: 'reference.parquet', sha256: '00' },
    rows,
    subjects: [],
    segments: [],
    moments: null,
    calibration: null,
  }
}

const propose = (log: ControlLog, rows: number, profile: string | null = null, pipeline = 'trips') =>
  proposeProfile(log, { pipeline, profile, content: contentOf(rows) }, BY)
const statesOf = (log: ControlLog) =>
  Object.fromEntries(knownProfiles(log, 'trips').map(({ entry }) => [entry.profile, entry.state]))

test('a proposal has the next number, counts for nothing, and is made once', async () => {
  const log = memoryControlLog()
  expect(await propose(log, 1)).toMatchObject({ isNew: true, entry: { profile: '1', state: 'proposed' } })
  expect(await propose(log, 1)).toMatchObject({ isNew: false, entry: { profile: '1' } })
  expect(await propose(log, 2)).toMatchObject({ isNew: true, entry: { profile: '2' } })
  expect(await propose(log, 1, 'spring')).toMatchObject({ isNew: true, entry: { profile: 'spring' } })
  expect(await propose(log, 1, null, 'others')).toMatchObject({ isNew: true, entry: { profile: '1' } })
  expect(acceptedProfile(log, 'trips')).toBeNull()
  await expect(propose(log, 3, 'spring')).rejects.toMatchObject({ code: 'profile_taken' })
})

test('a second accept supersedes; the first may come back', async () => {
  const log = memoryControlLog()
  await propose(log, 1)
  await propose(log, 2)
  expect(await acceptProfile(log, 'trips/1', BY)).toEqual([])
  expect(await acceptProfile(log, 'trips/1', BY)).toBeNull()
  expect(await acceptProfile(log, 'trips/2', BY)).toEqual(['1'])
  expect(statesOf(log)).toEqual({ 1: 'superseded', 2: 'accepted' })
  expect(acceptedProfile(log, 'trips')?.entry).toMatchObject({ profile: '2', content: contentOf(2) })
  expect(await acceptProfile(log, 'trips/1', BY)).toEqual(['2'])
  expect(statesOf(log)).toEqual({ 1: 'accepted', 2: 'superseded' })
  await expect(acceptProfile(log, 'trips/3', BY)).rejects.toMatchObject({ code: 'unknown_profile' })
})

test('after a crash between the two steps the last accepted counts, and accepting it again ends the other', async () => {
  const log = memoryControlLog()
  await propose(log, 1)
  await propose(log, 2)
  await acceptProfile(log, 'trips/1', BY)
  const { entry, revision } = knownProfile(log, 'trips/2')
  await log.append({
    kind: 'profile',
    name: 'trips/2',
    basedOn: revision,
    value: { ...entry, state: 'accepted' },
    ...BY,
  })
  expect(acceptedProfile(log, 'trips')?.entry.profile).toBe('2')
  expect(await acceptProfile(log, 'trips/2', BY)).toEqual(['1'])
  expect(statesOf(log)).toEqual({ 1: 'superseded', 2: 'accepted' })
})

test('of two that accept one profile at the same time, one is refused', async () => {
  const log = memoryControlLog()
  await propose(log, 1)
  const outcomes = await Promise.allSettled([acceptProfile(log, 'trips/1', BY), acceptProfile(log, 'trips/1', BY)])
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected'])
  expect(outcomes[1]).toMatchObject({ reason: { code: 'control_conflict' } })
})

test('of two profiles that are accepted at the same time, the last one in the log stays', async () => {
  const log = memoryControlLog()
  await propose(log, 1)
  await propose(log, 2)
  await propose(log, 3)
  await acceptProfile(log, 'trips/3', BY)
  await Promise.all([acceptProfile(log, 'trips/1', BY), acceptProfile(log, 'trips/2', BY)])
  expect(statesOf(log)).toEqual({ 1: 'superseded', 2: 'accepted', 3: 'superseded' })
})

test('content that is not what its digest says is no profile', async () => {
  const log = memoryControlLog()
  await propose(log, 1)
  await acceptProfile(log, 'trips/1', BY)
  const { entry, revision } = knownProfile(log, 'trips/1')
  const altered: ProfileEntry = { ...entry, content: contentOf(2) }
  await log.append({ kind: 'profile', name: 'trips/1', basedOn: revision, value: altered, ...BY })
  expect(() => knownProfile(log, 'trips/1')).toThrow(expect.objectContaining({ code: 'profile_altered' }))
  expect(acceptedProfile(log, 'trips')).toBeNull()
  await expect(acceptProfile(log, 'trips/1', BY)).rejects.toMatchObject({ code: 'profile_altered' })
})

test('what another version of the code wrote is passed over', async () => {
  const log = memoryControlLog()
  await propose(log, 1)
  for (const value of [
    null,
    'text',
    { pipeline: 'trips', profile: 'x' },
    { ...knownProfile(log, 'trips/1').entry, state: 'new' },
  ]) {
    const name = `trips/x${log.revision}`
    await log.append({ kind: 'profile', name, basedOn: null, value, ...BY })
    expect(() => knownProfile(log, name)).toThrow(expect.objectContaining({ code: 'unknown_profile' }))
  }
  expect(knownProfiles(log, 'trips').map(({ entry }) => entry.profile)).toEqual(['1'])
})

test('a digest does not depend on the order of members', () => {
  const content = contentOf(1)
  const turned = Object.fromEntries(Object.entries(content).reverse()) as unknown as ReferenceProfile
  expect(digestOfProfile(turned)).toBe(digestOfProfile(content))
  expect(digestOfProfile(contentOf(2))).not.toBe(digestOfProfile(content))
})
