import { systemClock } from '../../infra/runtime/clock.ts'
import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { createControlLog } from '../../infra/runtime/control/create-control-log.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { ControlEntry } from '../../schemas/generated/records.ts'

/** A control log in memory, with one reader. */
export function memoryControlLog(): ControlLog {
  let length = 0
  const feed = createControlLog({
    async write(entry: ControlEntry) {
      const offset = length++
      feed.read(offset, entry)
      return offset
    },
    clock: systemClock,
    logger: silentLogger,
  })
  return feed.log
}
