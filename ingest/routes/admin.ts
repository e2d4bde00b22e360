import type { Gateway } from '../http/request.ts'
import { type AdminDeps, adminKeys } from './admin-keys.ts'
import { adminTenants } from './admin-tenants.ts'

/**
 * `/v1/admin`, for a port of its own. An admin looks after the keys of its own tenant; one of the operator's tenant (`millrace`)
 * after all tenants and their keys. What belongs to another tenant is not there (404).
 */
export function adminRoutes(deps: AdminDeps): (app: Gateway) => void {
  return (app) => {
    adminTenants(deps.control)(app)
    adminKeys(deps)(app)
  }
}
