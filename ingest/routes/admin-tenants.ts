import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { changeTenant } from '../commands/tenant-change.ts'
import { createTenant } from '../commands/tenant-create.ts'
import { type ListedTenant, listTenants } from '../commands/tenant-list.ts'
import type { Gateway } from '../http/request.ts'
import { BODY_PROBLEMS, CREDENTIAL_PROBLEMS, problems } from '../http/schemas.ts'
import { administrator, answered, by, json, mayManage, notThere, operator, time } from './admin-rights.ts'
import { limitsBody, limitsFrom, NewTenant, Tenant, TenantParams, TenantPatch, Tenants } from './admin-schemas.ts'

/** `/v1/admin/tenants`: an admin sees its own tenant; one of the operator's tenant makes and changes all. */
export function adminTenants(control: ControlLog): (app: Gateway) => void {
  return (app) => {
    const config = { scope: 'admin' } as const

    app.post(
      '/v1/admin/tenants',
      {
        config,
        schema: {
          ...{ operationId: 'createTenant', summary: 'Make a tenant (operator)', tags: ['admin'], body: NewTenant },
          response: {
            201: json(Tenant, 'The tenant is there.'),
            ...{ ...CREDENTIAL_PROBLEMS, ...BODY_PROBLEMS, ...problems(409) },
          },
        },
      },
      async ({ principal, body }, reply) => {
        const admin = operator(principal)
        const { tenant, limits, reason } = body
        const made = await answered(createTenant(control, { tenant, limits: limitsFrom(limits) }, by(admin, reason)))
        return reply.code(201).send(tenantBody(made))
      },
    )

    app.get(
      '/v1/admin/tenants',
      {
        config,
        schema: {
          ...{ operationId: 'listTenants', summary: 'Tenants that the caller looks after', tags: ['admin'] },
          response: { 200: json(Tenants, 'By name.'), ...CREDENTIAL_PROBLEMS },
        },
      },
      async ({ principal }) => {
        const admin = administrator(principal)
        return {
          tenants: listTenants(control)
            .filter(({ tenant }) => mayManage(admin, tenant))
            .map(tenantBody),
        }
      },
    )

    app.patch(
      '/v1/admin/tenants/:tenant',
      {
        config,
        schema: {
          operationId: 'changeTenant',
          summary: 'Suspend or resume a tenant, change its limits (operator)',
          tags: ['admin'],
          params: TenantParams,
          body: TenantPatch,
          response: {
            200: json(Tenant, 'As it is now.'),
            ...{ ...CREDENTIAL_PROBLEMS, ...BODY_PROBLEMS, ...problems(404, 409) },
          },
        },
      },
      async ({ principal, params: { tenant }, body }) => {
        if (!mayManage(administrator(principal), tenant)) throw notThere(`there is no tenant ${tenant}`)
        const admin = operator(principal)
        const { state, limits, reason } = body
        const change = { ...(state === undefined ? {} : { state }), limits: limitsFrom(limits) }
        return tenantBody(await answered(changeTenant(control, tenant, change, by(admin, reason))))
      },
    )
  }
}

function tenantBody({ tenant, state, limits, actor, reason, at }: ListedTenant) {
  return { tenant, state, limits: limitsBody(limits), changed_by: actor, reason, changed_at: time(at) }
}
