import { expect, test } from 'vitest'
import { portionsOf } from '../../infra/cli/audit/superseded-labels.ts'

test('ids are asked for in portions whose URL any server takes, whatever they look like', () => {
  const ids = Array.from({ length: 500 }, (_, at) => `2013-03-15T06:00Z/N${at}/ärger '`)
  const portions = [...portionsOf(ids)]
  expect(portions.flat()).toEqual(ids)
  for (const portion of portions) {
    const parameters = new URLSearchParams({ param_ids: `[${portion.map((id) => `'${id}'`).join(',')}]` })
    expect(parameters.toString().length).toBeLessThan(8_000)
  }
  const long = 'x'.repeat(20_000)
  expect([...portionsOf(['a', long, 'b'])]).toEqual([['a'], [long], ['b']])
  expect([...portionsOf([])]).toEqual([])
})
