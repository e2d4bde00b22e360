import type { RecordBatch } from '../../infra/runtime/kafka/record-batch.ts'
import { WITHDRAWN } from '../../schemas/clickhouse/label-kinds.ts'
import type { DeadLetterReason } from '../../schemas/dead-letter-reasons.ts'
import { TENANT_HEADER } from '../../schemas/headers.ts'
import type { CompiledEvent, CompiledLabel } from '../../schemas/pipeline/compiled.ts'
import { type ColumnType, TIME } from './column-types.ts'
import { type RowKind, type RowResult, SOURCE_TYPES, sourceColumns } from './stored-row.ts'

export type LabelRecord = Readonly<Record<string, unknown>>

export interface LabelRowsInput {
  readonly pipeline: string
  readonly label: Pick<CompiledLabel, 'idField' | 'timeField' | 'value' | 'withdrawable'>
  /** A label belongs to a tenant by the same rule as its event. */
  readonly tenant: CompiledEvent['tenant']
}

const TYPES = {
  pipeline: 'LowCardinality(String)',
  tenant: 'LowCardinality(String)',
  event_id: 'String',
  kind: 'LowCardinality(String)',
  value: 'Float64',
  class: 'LowCardinality(String)',
  label_time: TIME,
  ...SOURCE_TYPES,
} as const satisfies Record<string, ColumnType>

type Truth = {
  readonly kind: 'boolean' | 'number' | 'class' | typeof WITHDRAWN
  readonly value: number
  readonly class: string
}
type Problem = { readonly reason: DeadLetterReason; readonly message: string }

export function labelRows(input: LabelRowsInput): RowKind<LabelRecord> {
  const { pipeline, label } = input
  return {
    table: 'labels',
    types: TYPES,
    partitionBy: null,
    row(record, batch, index) {
      const tenant = tenantOf(input.tenant, batch, index)
      const id = record[label.idField]
      if (id === null || id === undefined || id === '') {
        return rejection({ reason: 'missing_id', message: `${label.idField} is empty` }, { tenant })
      }
      const origin = { tenant, eventId: String(id), origin: null }
      const time = record[label.timeField]
      if (typeof time !== 'number') {
        return rejection({ reason: 'invalid_time', message: `${label.timeField} is not a time` }, origin)
      }
      const truth = truthOf(label, record)
      if ('reason' in truth) return rejection(truth, origin)
      const row = {
        pipeline,
        tenant,
        event_id: origin.eventId,
        ...truth,
        label_time: time,
        ...sourceColumns(batch, index),
      }
      return { kind: 'row', row, origin }
    },
  }
}

function tenantOf(rule: CompiledEvent['tenant'], batch: RecordBatch, index: number): string {
  return 'fixed' in rule ? rule.fixed : (batch.header(index, TENANT_HEADER)?.toString() ?? '')
}

function rejection(problem: Problem, origin: { readonly tenant: string; readonly eventId?: string }): RowResult {
  return { kind: 'rejection', rejection: { kind: 'unstored', ...problem, origin: null, ...origin } }
}

function truthOf(label: LabelRowsInput['label'], record: LabelRecord): Truth | Problem {
  let value: unknown
  try {
    value = twice(() => label.value(record))
  } catch (error) {
    return { reason: 'step_error', message: `label.value: ${error instanceof Error ? error.message : String(error)}` }
  }
  switch (typeof value) {
    case 'boolean':
      return { kind: 'boolean', value: value ? 1 : 0, class: '' }
    case 'number':
      if (!Number.isFinite(value)) return { reason: 'non_finite', message: `label.value is ${value}` }
      return { kind: 'number', value, class: '' }
    case 'string':
      return { kind: 'class', value: Number.NaN, class: value }
    default:
      if (value === null && label.withdrawable) return { kind: WITHDRAWN, value: Number.NaN, class: '' }
      if (value === null || value === undefined) {
        return { reason: 'no_truth', message: `label.value is ${value}` }
      }
      return { reason: 'step_error', message: `label.value is a ${typeof value}, not a number, boolean, text or null` }
  }
}

/** What throws once may not throw again. */
function twice<T>(step: () => T): T {
  try {
    return step()
  } catch {
    return step()
  }
}
