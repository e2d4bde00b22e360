import { userInfo } from 'node:os'
import type { Command } from 'commander'
import type { LimitSettings, TenantEntry } from '../../../schemas/control/access.ts'
import type { ControlLog } from '../../runtime/control/control-log.ts'
import { withControlLog } from '../control-log.ts'
import { loadStageModule } from '../stage-module.ts'
import { type LimitOptions, limitsOf, limitsText, withLimits } from './limit-options.ts'

/** As ingest/commands/tenant-*.ts export them. */
interface By {
  readonly actor: string
  readonly reason: string
}
interface Listed extends By, TenantEntry {
  readonly tenant: string
  readonly at: number
}
interface CreateModule {
  createTenant(
    control: ControlLog,
    tenant: { readonly tenant: string; readonly limits: Partial<LimitSettings> },
    by: By,
  ): Promise<Listed>
}
interface ChangeModule {
  changeTenant(
    control: ControlLog,
    tenant: string,
    change: { readonly state?: TenantEntry['state']; readonly limits?: Partial<LimitSettings> },
    by: By,
  ): Promise<Listed>
}
interface ListModule {
  listTenants(control: ControlLog): readonly Listed[]
}

export function register(program: Command): void {
  const tenant = program.command('tenant').description('say who may use the gateway, and how much')

  signed(withLimits(tenant.command('create')))
    .description('make a tenant; the tenant millrace is the operator, whose admins look after all')
    .argument('<tenant>')
    .action(async (name: string, { actor, reason, ...options }: By & LimitOptions) => {
      const { createTenant } = await loadStageModule<CreateModule>('ingest/commands/tenant-create')
      const made = await withControlLog((log) =>
        createTenant(log, { tenant: name, limits: limitsOf(options) }, { actor, reason }),
      )
      console.log(line(made))
    })

  tenant
    .command('list')
    .description('show all tenants with their limits')
    .option('--json', 'print one JSON object per line', false)
    .action(async ({ json }: { json: boolean }) => {
      const { listTenants } = await loadStageModule<ListModule>('ingest/commands/tenant-list')
      const tenants = await withControlLog(async (log) => listTenants(log))
      if (tenants.length === 0 && !json) console.log('there are no tenants')
      for (const listed of tenants) console.log(json ? JSON.stringify(listed) : line(listed))
    })

  const states = [
    ['suspend', 'suspended', 'let nobody in with a credential of the tenant'],
    ['resume', 'active', 'let a suspended tenant in again'],
  ] as const
  for (const [command, state, about] of states) {
    signed(tenant.command(command).description(about).argument('<tenant>')).action(
      async (name: string, { actor, reason }: By) => change(name, { state }, { actor, reason }),
    )
  }

  signed(withLimits(tenant.command('limits')))
    .description('change limits of a tenant; those that are not named stay')
    .argument('<tenant>')
    .action(async (name: string, { actor, reason, ...options }: By & LimitOptions) =>
      change(name, { limits: limitsOf(options) }, { actor, reason }),
    )
}

async function change(name: string, what: Parameters<ChangeModule['changeTenant']>[2], by: By): Promise<void> {
  const { changeTenant } = await loadStageModule<ChangeModule>('ingest/commands/tenant-change')
  console.log(line(await withControlLog((log) => changeTenant(log, name, what, by))))
}

function signed(command: Command): Command {
  return command
    .option('--actor <name>', 'who does it, for the control log', userInfo().username)
    .option('--reason <text>', 'why, for the control log', '')
}

function line({ tenant, state, limits, actor, at }: Listed): string {
  return `${tenant.padEnd(20)}  ${state.padEnd(9)}  ${limitsText(limits)}  ${new Date(at).toISOString()}  ${actor}`
}
