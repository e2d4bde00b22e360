/** What a pipeline folder becomes once it has been read and checked as a whole: the only form that stages see. */

import type { CompiledMonitor } from './monitor.ts'

/** A value that Avro hands to features, checks and keys: scalars only. Timestamps are epoch milliseconds. */
export type Scalar = string | number | boolean | null

/** Avro schema as JSON, ready for any Avro library. */
export type AvroSchema = Readonly<Record<string, unknown>>

export interface CompiledPipeline {
  readonly name: string
  /** Absolute path of the pipeline folder. */
  readonly folder: string
  readonly event: CompiledEvent
  readonly tables: readonly CompiledTable[]
  readonly checks: readonly CompiledCheck[]
  /** An event id is looked for in so many offsets before the event's own; null = it is not. */
  readonly dedupe: { readonly window: number } | null
  /** In the order in which the model sees them. */
  readonly features: readonly CompiledFeature[]
  readonly featureSet: FeatureSet
  readonly model: CompiledModelChoice
  readonly label: CompiledLabel | null
  /** Null: events come over HTTP as the schema has them. */
  readonly http: CompiledHttpMapping | null
  readonly monitor: CompiledMonitor
}

/** What the gateway makes of a request before it is an event. */
export interface CompiledHttpMapping {
  /** The event's member `from` is the field `to`. */
  readonly rename: readonly { readonly from: string; readonly to: string }[]
  /** Values of fields that no request may give. */
  readonly constants: readonly { readonly field: string; readonly value: Scalar }[]
  /** Members of the event that are left out. */
  readonly drop: readonly string[]
  /** Request headers, in lower case, that fields are taken from. */
  readonly headers: readonly { readonly header: string; readonly field: string }[]
}

export interface CompiledEvent {
  readonly topic: string
  /** False when the topic exists already and is somebody else's. */
  readonly owned: boolean
  readonly subject: string
  readonly schema: AvroSchema
  readonly retentionMs: number | null
  readonly idField: string
  /** Null: events without a key, spread over the partitions. */
  readonly keyField: string | null
  readonly timeField: string
  readonly segmentField: string | null
  /** `header`: the gateway alone writes the topic and its header counts; otherwise this tenant owns every event. */
  readonly tenant: { readonly from: 'header' } | { readonly fixed: string }
}

export interface CompiledTable {
  readonly name: string
  readonly topic: string
  readonly subject: string
  readonly schema: AvroSchema
  readonly keyFields: readonly string[]
  readonly timeField: string
  /** A row older than this at the event's time counts as missing. */
  readonly maxAgeMs: number
  /** What lookups do when the table cannot be read: go on with missing values after `afterMs`, or wait. */
  readonly onUnavailable: { readonly policy: 'degrade'; readonly afterMs: number } | { readonly policy: 'pause' }
}

export interface CompiledCheck {
  /** Becomes the dead letter's reason. */
  readonly name: string
  readonly fields: readonly string[]
  readonly test: (...values: readonly Scalar[]) => boolean
}

export type KeyPart =
  | { readonly kind: 'field'; readonly field: string }
  | {
      readonly kind: 'derive'
      readonly fields: readonly string[]
      readonly compute: (...values: readonly Scalar[]) => Scalar
    }

interface FeatureBase {
  readonly name: string
  readonly type: FeatureType
  /** Value for a null field or a missing lookup; NaN where the model understands missing values. */
  readonly missing: number
}

/** One feature: always one float32. Booleans become 0 or 1, categories the index of their value. */
export type CompiledFeature =
  | (FeatureBase & { readonly kind: 'number'; readonly field: string })
  | (FeatureBase & { readonly kind: 'flag'; readonly field: string })
  | (FeatureBase & {
      readonly kind: 'category'
      readonly field: string
      readonly values: readonly string[]
      /** For a value that is not in `values`. */
      readonly unseen: number
    })
  | (FeatureBase & {
      readonly kind: 'derive'
      readonly fields: readonly string[]
      /** Null or undefined = missing. */
      readonly compute: (...values: readonly Scalar[]) => number | null | undefined
    })
  | (FeatureBase & {
      readonly kind: 'lookup'
      readonly table: string
      readonly column: string
      readonly by: readonly KeyPart[]
    })

/** The part of a feature's meaning that a model depends on. */
export type FeatureType =
  | { readonly type: 'float32' }
  | { readonly type: 'flag' }
  | { readonly type: 'category'; readonly values: readonly string[] }

export interface FeatureSet {
  /** SHA-256 over the ordered names and types, first 32 hex digits. */
  readonly digest: string
  readonly features: readonly ({ readonly name: string } & FeatureType)[]
}

export interface CompiledModelChoice {
  readonly name: string
  readonly alias: string
  /** Directory that holds one folder per version, each with a manifest.json. */
  readonly directory: string
  /** The output that is the score, counted within its tensor. */
  readonly output: { readonly tensor: string; readonly index: number | 'max' }
  readonly budgetMs: number
  /** An answer is late so long after Kafka appended its event; null = never. */
  readonly deadlineMs: number | null
  /** `require`: refuse to start without that provider; `prefer`: the CPU serves where it is missing, and predictions say so. */
  readonly provider: { readonly name: 'cpu' | 'cuda'; readonly demand: 'require' | 'prefer' }
  /** The answer that stands for one that is late, or that may not be used; null = a late one is given, a bad one rejected. */
  readonly fallback: {
    readonly score: number
    readonly label: string | null
    readonly late: boolean
    readonly invalid: boolean
  } | null
}

export interface CompiledLabel {
  readonly topic: string
  readonly subject: string
  readonly schema: AvroSchema
  readonly idField: string
  readonly timeField: string
  /** The truth: a number or boolean (1 or 0), or the name of a class. Null = the event has none: see `withdrawable`. */
  readonly value: (record: Readonly<Record<string, unknown>>) => number | boolean | string | null
  /**
   * A field of the schema may be null (id and time never are): then a label whose value is null withdraws what was said of its event, until a later one
   * says something. Else it is a dead letter, `no_truth`.
   */
  readonly withdrawable: boolean
}
