import type { TestProject } from 'vitest/node'
import { startTestStack } from './test-stack.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** The stack that all files of this run share; `env` points any process of Millrace at it. */
    readonly stack: { readonly env: Readonly<Record<string, string>> }
  }
}

/** Starts one stack for the whole run. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { value, stop } = await startTestStack()
  project.provide('stack', { env: value.env })
  return stop
}
