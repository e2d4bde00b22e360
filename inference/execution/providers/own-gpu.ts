import { createServer } from 'node:net'
import { describeError, retryable } from '../../../infra/runtime/errors.ts'

/**
 * One process owns a GPU: others would halve it without knowing. The lock is a socket in Linux's abstract namespace (a named
 * pipe on Windows), which goes with the process however it ends, and leaves no file. It is seen by processes that share a
 * network namespace; containers are kept apart by whoever gives them devices. `device` as CUDA_VISIBLE_DEVICES names it.
 * Answers how to give it back; rejects with `gpu_taken` (retry).
 */
export async function ownGpu(device: string): Promise<() => Promise<void>> {
  const name = `millrace-gpu-${device}`
  const server = createServer((socket) => socket.destroy())
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.listen(process.platform === 'win32' ? `\\\\.\\pipe\\${name}` : `\0${name}`, resolve)
  try {
    await promise
  } catch (error) {
    if (describeError(error).code !== 'EADDRINUSE') throw error
    throw retryable('gpu_taken', `GPU ${device} belongs to another process: one process owns a GPU`, error)
  }
  server.unref()
  return () => new Promise((resolve, reject) => server.close((error) => (error ? reject(error) : resolve())))
}
