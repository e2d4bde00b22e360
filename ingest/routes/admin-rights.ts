import { MillraceError } from '../../infra/runtime/errors.ts'
import type { Principal } from '../access/access.ts'
import { OPERATOR_TENANT } from '../access/entries.ts'
import type { By } from '../commands/tenant-create.ts'
import { HttpProblem } from '../http/problem.ts'

/** Codes of commands that are not plainly the request's fault (400). */
const STATUS: Readonly<Record<string, 404 | 409>> = {
  unknown_tenant: 404,
  unknown_key: 404,
  tenant_exists: 409,
  too_many_keys: 409,
  control_conflict: 409,
}

export function administrator(principal: Principal | null): Principal {
  if (principal === null) throw new HttpProblem(401, 'missing_credential', 'the request has no credential')
  return principal
}

export function operator(principal: Principal | null): Principal {
  const admin = administrator(principal)
  if (isOperator(admin)) return admin
  throw new HttpProblem(403, 'operator_only', `only an admin of the tenant ${OPERATOR_TENANT} may do this`)
}

export function isOperator({ tenant }: Principal): boolean {
  return tenant === OPERATOR_TENANT
}

export function mayManage(admin: Principal, tenant: string): boolean {
  return isOperator(admin) || admin.tenant === tenant
}

export function by({ tenant, name }: Principal, reason = ''): By {
  return { actor: `${tenant}/${name}`, reason }
}

export function notThere(detail: string): HttpProblem {
  return new HttpProblem(404, 'not_found', detail)
}

/** Rejects with the problem that a command's refusal is. */
export async function answered<T>(command: Promise<T>): Promise<T> {
  try {
    return await command
  } catch (error) {
    const status = error instanceof MillraceError && error.fate === 'reject' ? STATUS[error.code] : undefined
    if (status === undefined) throw error
    const { code, message } = error as MillraceError
    throw new HttpProblem(status, status === 404 ? 'not_found' : code, message, { cause: error })
  }
}

export function time(at: number): string {
  return new Date(at).toISOString()
}

export const json = (schema: object, description: string) => ({
  description,
  content: { 'application/json': { schema } },
})
