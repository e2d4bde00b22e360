import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { clickhouse } from './components/clickhouse.ts'
import type { Component } from './components/component.ts'
import { kafka } from './components/kafka.ts'
import { redis } from './components/redis.ts'
import { registry } from './components/registry.ts'
import { requireFreePorts } from './ports.ts'
import { type ComponentName, portVariable, REPLACED_BY, type StackSettings } from './settings.ts'
import { createSupervisor, type SupervisedProcess, type Supervisor } from './supervisor.ts'

export interface Stack {
  /** Variables that point every process of Millrace at this stack. */
  readonly env: Readonly<Record<string, string>>
  /** Runs the components; whatever else is run on it ends before them. */
  readonly supervisor: Supervisor
  /** Undefined for a component that a variable replaces. */
  component(name: ComponentName): SupervisedProcess | undefined
  /** Resolves when the component answers again, e.g. after it was killed. */
  ready(name: ComponentName): Promise<void>
}

/** The variable by which stages accept a broker that is alone. */
export const ALLOW_SINGLE_REPLICA = { MILLRACE_ALLOW_SINGLE_REPLICA: 'true' }

const COMPONENTS: readonly Component[] = [kafka, registry, redis, clickhouse]
const READY_WITHIN_MS = 90_000
const POLL_MS = 100

/** Rejects when a port of a component that would start here is taken, as it is while another stack runs. */
export async function requireFreeStackPorts(settings: StackSettings): Promise<void> {
  await requireFreePorts(
    localComponents(settings).flatMap(({ name, ports }) =>
      ports.map((port) => ({ port: settings.ports[port], owner: name, variable: portVariable(port) })),
    ),
  )
}

function localComponents(settings: StackSettings): readonly Component[] {
  return COMPONENTS.filter(({ name }) => settings.external[name] === undefined)
}

/** Starts the components that no variable replaces, all at once, and resolves when each answers. */
export async function startStack(
  settings: StackSettings,
  options: { readonly onProgress: (line: string) => void },
): Promise<{ readonly value: Stack; stop(): Promise<void> }> {
  const local = localComponents(settings)
  await requireFreeStackPorts(settings)
  const supervisor = createSupervisor()
  const processes = new Map<ComponentName, SupervisedProcess>()
  try {
    const started = await Promise.allSettled(
      local.map(async (component) => {
        const since = performance.now()
        processes.set(component.name, await launch(component, settings, supervisor))
        await untilReady(component, settings, processes.get(component.name))
        const seconds = ((performance.now() - since) / 1_000).toFixed(1)
        options.onProgress(`✓ ${component.name} ${component.address(settings)} after ${seconds} s`)
      }),
    )
    const failed = started.find(({ status }) => status === 'rejected')
    if (failed?.status === 'rejected') throw failed.reason
  } catch (error) {
    await supervisor.stop()
    throw error
  }
  for (const [name, address] of Object.entries(settings.external)) {
    options.onProgress(`✓ ${name} ${withoutPassword(address)}, not ours (${REPLACED_BY[name as ComponentName]})`)
  }
  return {
    value: {
      env: {
        ...Object.fromEntries(
          COMPONENTS.map((each) => [REPLACED_BY[each.name], settings.external[each.name] ?? each.address(settings)]),
        ),
        ...(settings.external.kafka === undefined ? ALLOW_SINGLE_REPLICA : {}),
      },
      supervisor,
      component: (name) => processes.get(name),
      async ready(name) {
        const component = COMPONENTS.find((each) => each.name === name)
        if (component !== undefined) await untilReady(component, settings, processes.get(name))
      },
    },
    stop: () => supervisor.stop(),
  }
}

async function launch(
  component: Component,
  settings: StackSettings,
  supervisor: Supervisor,
): Promise<SupervisedProcess> {
  const command = await component.prepare(settings)
  const logFile = path.join(settings.logDir, `${component.name}.log`)
  return supervisor.run({ name: component.name, role: 'component', ...command, logFile, restart: 'always' })
}

async function untilReady(
  component: Component,
  settings: StackSettings,
  process: SupervisedProcess | undefined,
): Promise<void> {
  const deadline = performance.now() + READY_WITHIN_MS
  const restartsBefore = process?.restarts ?? 0
  for (;;) {
    try {
      await component.probe(settings)
      return
    } catch (error) {
      const crashing = (process?.restarts ?? 0) > restartsBefore + 1
      if (crashing || performance.now() > deadline) {
        const said = process?.lastError ?? (error as Error).message
        throw new Error(
          `${component.name} does not start; its log is ${process?.logFile ?? 'elsewhere'}, its last error: ${said}`,
        )
      }
    }
    await sleep(POLL_MS)
  }
}

function withoutPassword(address: string): string {
  return address.replace(/\/\/[^@/]*@/, '//')
}
