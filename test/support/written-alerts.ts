import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import type { LogReader } from '../../infra/runtime/kafka/log-reader.ts'
import { sliceAt } from '../../infra/runtime/kafka/record-batches/columns.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import type { Alert } from '../../schemas/generated/records.ts'

/** Every record of the pipeline in the topic of alerts, which ends with the marker of a claim. */
export async function writtenAlerts(logReader: LogReader, topic: string, pipeline: string): Promise<readonly Alert[]> {
  const type = parseAvroSchema(await readContract('alert'), 'alert')
  const decode = type.readerOf(type)
  const { start, end } = await logReader.range(topic, 0)
  const alerts: Alert[] = []
  for await (const set of logReader.read(topic, 0, start, end)) {
    for (let row = 0; row < set.length; row++) {
      alerts.push(decode(sliceAt(set.values, row) ?? Buffer.alloc(0)) as Alert)
    }
  }
  return alerts.filter((alert) => alert.pipeline === pipeline)
}
