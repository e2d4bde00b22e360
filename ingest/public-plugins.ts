import type { Compiled } from '../infra/runtime/config.ts'
import type { StageContext } from '../infra/runtime/stage-process.ts'
import type { INGEST } from './config.ts'
import type { GatewayParts } from './gateway-parts.ts'
import type { Plugin } from './http/request.ts'
import { requestsInFlight } from './plugins/in-flight.ts'
import { versions } from './plugins/versions.ts'
import { asyncapi } from './routes/asyncapi.ts'
import { health } from './routes/health.ts'
import { documents } from './routes/openapi.ts'
import { createPredictionHeaders } from './routes/prediction-headers.ts'
import { v1Events } from './routes/v1-events.ts'
import { v1Labels } from './routes/v1-labels.ts'
import { v1Pipeline } from './routes/v1-pipeline.ts'
import { v1Predict } from './routes/v1-predict.ts'
import { v1Predictions } from './routes/v1-predictions.ts'
import { v1Stream } from './routes/v1-stream.ts'
import { v2 } from './routes/v2.ts'

/** What the public port serves, in the order in which it must be added. */
export function publicPlugins(
  { pipeline, clock, metrics, logger }: Pick<StageContext, 'pipeline' | 'clock' | 'metrics' | 'logger'>,
  own: Compiled<typeof INGEST>,
  parts: GatewayParts,
  serving: {
    /** Of the package. */
    readonly version: string
    /** Null when the gateway does its work. */
    readonly problem: () => string | null
    readonly draining: AbortSignal
  },
): readonly Plugin[] {
  const { access, intakes, answers, feed, readers, control, limits } = parts
  const { version, problem, draining } = serving
  const headersOf = createPredictionHeaders(control)
  const events = { pipeline, limits, reader: readers.events, intake: intakes.events }
  const waiting = { ...events, answers, waitMs: own.predictWaitMs }
  const labels =
    intakes.labels === null || readers.labels === null
      ? []
      : [v1Labels({ pipeline, limits, reader: readers.labels, intake: intakes.labels })]
  return [
    documents({ pipeline: pipeline.name, version }),
    versions,
    requestsInFlight(metrics),
    health({ problem }),
    v1Pipeline({ pipeline }),
    asyncapi({ pipeline, version }),
    v1Events(events),
    v1Predict({ ...waiting, headersOf }),
    v1Predictions({ pipeline, answers, headersOf }),
    v1Stream({ pipeline, access, feed, clock, logger, draining }),
    ...labels,
    v2({ ...waiting, version, problem, logger }),
  ]
}
