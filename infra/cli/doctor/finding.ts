import { describeError } from '../../runtime/errors.ts'

export interface Finding {
  readonly ok: boolean
  readonly about: string
  readonly detail: string
}

/** What a check finds; its failure is a finding too. */
export async function findings(
  about: string,
  check: (about: string) => Promise<readonly Finding[]>,
): Promise<readonly Finding[]> {
  try {
    return await check(about)
  } catch (error) {
    return [{ ok: false, about, detail: describeError(error).message }]
  }
}
