import type { AvroReader } from '../../../infra/runtime/avro/avro-reader.ts'
import { WIRE_HEADER_BYTES } from '../../../infra/runtime/avro/wire-format.ts'
import type { ColumnBatch } from '../../../infra/runtime/kafka/consumer/column-batch.ts'
import type { SpareMemory } from '../../../infra/runtime/spare-memory.ts'
import type { AvroSchema } from '../../../schemas/pipeline/compiled.ts'
import { rangeOf, TIME } from '../column-types.ts'
import type { Row, RowFacts, RowKind } from '../stored-row.ts'
import { type AvroRows, compileAvroRows } from './avro-rows.ts'
import { createNativeBlock } from './block.ts'
import { viewOf } from './bytes.ts'
import type { LongColumn, WordColumn } from './columns.ts'
import type { KeysColumn } from './keys-column.ts'
import { pickRows } from './pick-rows.ts'

/** Rows of one chunk, as the table's columns. */
export interface NativeRows {
  /** Facts of the row that was read last. */
  readonly facts: RowFacts
  /** True when the record is read, and can be written; false when it has to be decoded. */
  read(batch: ColumnBatch, index: number): boolean
  /** Writes the record that was read. */
  write(batch: ColumnBatch, index: number): void
  /** Writes a record that was decoded. */
  add(values: Row): void
  /** All rows as one block. The rows are not to be used any more. */
  take(spare: Pick<SpareMemory, 'take'>): {
    readonly body: Buffer
    /** What the body lies in. */
    readonly memory: Buffer
    readonly pick: (rows: readonly number[]) => Buffer
  }
}

export interface NativeTable {
  begin(): NativeRows
}

/** Of rows that nobody writes at the moment. */
const MAX_SPARE_BYTES = 8_388_608
const MAGIC = 0
const NOTHING: Buffer = Buffer.alloc(0)
const WRITTEN = rangeOf(TIME)

/** Null for a kind without `constants`. `schema` = what the reader decodes to. */
export function createNativeTable(
  kind: Omit<RowKind<never>, 'row'>,
  reader: Pick<AvroReader<unknown>, 'writerSchema'>,
  schema: AvroSchema,
): NativeTable | null {
  if (kind.constants === undefined) return null
  const spare: NativeRows[] = []
  let spareBytes = 0
  const sizes = new Map<NativeRows, number>()
  return {
    begin() {
      const found = spare.pop()
      if (found === undefined) return startRows(kind, reader, schema, giveBack)
      spareBytes -= sizes.get(found) ?? 0
      sizes.delete(found)
      return found
    },
  }

  function giveBack(rows: NativeRows, bytes: number): void {
    if (spareBytes + bytes > MAX_SPARE_BYTES) return
    spareBytes += bytes
    sizes.set(rows, bytes)
    spare.push(rows)
  }
}

function startRows(
  { types, constants = {}, partitionBy }: Omit<RowKind<never>, 'row'>,
  reader: Pick<AvroReader<unknown>, 'writerSchema'>,
  schema: AvroSchema,
  over: (rows: NativeRows, bytes: number) => void,
): NativeRows {
  const block = createNativeBlock(types)
  const plans = new Map<number, AvroRows | null>()
  const fixed = Object.entries(constants).map(([name, text]) => ({
    text,
    column: block.columns.get(name) as KeysColumn,
  }))
  const writtenAt = block.columns.get('written_at') as LongColumn
  const generations = block.columns.get('kafka_generation') as KeysColumn
  const partitions = block.columns.get('kafka_partition') as WordColumn
  const offsets = block.columns.get('kafka_offset') as LongColumn
  const facts = { tablePartition: 0, time: null as number | null, latencyMs: null as number | null }
  let plan: AvroRows | null = null
  let planId = -1
  /** Places of fields in records of the plan. */
  let ingestedAt = -1
  let partitionTime = -1
  let view = viewOf(NOTHING)
  let viewed = NOTHING

  function planFor(id: number): AvroRows | null {
    const known = plans.get(id)
    if (known !== undefined) return known
    const writer = reader.writerSchema(id)
    // until the registry knows it
    if (writer === null) return null
    const compiled = compileAvroRows(writer, schema, types, block)
    plans.set(id, compiled)
    return compiled
  }

  const rows: NativeRows = {
    facts,
    read({ values, timestamps }, index) {
      const { bytes } = values
      const start = values.starts[index] as number
      const end = start + (values.lengths[index] as number)
      if (end - start < WIRE_HEADER_BYTES || bytes[start] !== MAGIC) return false
      if (bytes !== viewed) {
        view = viewOf(bytes)
        viewed = bytes
      }
      const id = view.getInt32(start + 1)
      if (id !== planId || plan === null) {
        plan = planFor(id)
        planId = id
        if (plan === null) return false
        ingestedAt = plan.placeOf('ingested_at')
        partitionTime = partitionBy === null ? -1 : plan.placeOf(partitionBy.column)
      }
      const written = timestamps[index] as number
      if (!(written >= WRITTEN.from && written <= WRITTEN.to)) return false
      if (!plan.read(bytes, view, start, end)) return false
      if (ingestedAt >= 0) facts.latencyMs = written - plan.number(ingestedAt)
      if (partitionBy !== null) {
        facts.time = plan.number(partitionTime)
        facts.tablePartition = partitionBy.partitionOf(facts.time)
      }
      return true
    },
    write(batch, index) {
      const row = block.open()
      plan?.write(row)
      writtenAt.values[row] = batch.timestamps[index] as number
      generations.add(row, batch.generation)
      partitions.words[row] = batch.partition
      offsets.values[row] = batch.offsets[index] as number
      block.done()
    },
    add: block.add,
    take(memory) {
      for (const { column, text } of fixed) column.fill(block.rows, text)
      const taken = block.take(memory)
      viewed = NOTHING
      view = viewOf(NOTHING)
      over(rows, taken.body.length)
      return { ...taken, pick: (picked) => pickRows(taken.body, types, picked) }
    },
  }
  return rows
}
