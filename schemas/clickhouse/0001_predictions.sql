-- Every record of the predictions topics. Read it FINAL, or through the views <pipeline>_predictions.
--
-- One row is one event's one prediction: the sorting key names the event and nothing that another attempt could decide
-- differently. At least once, an event may be scored twice, the second time by a newer model or with a fresher lookup;
-- with the model in the key both would count. So the model is not in it, except for a shadow's predictions, which stand
-- beside the primary's. Of two the first written one stays, as for every other reader of the topic. Two accepted events
-- with one id differ in their coordinates and stay two.
--
-- ingested_at is the event's append time, the same on every delivery, so copies always meet in one partition.
-- kafka_partition is the partition of the event as well as of its prediction: records keep their lane.
CREATE TABLE IF NOT EXISTS predictions
(
    pipeline          LowCardinality(String),
    tenant            LowCardinality(String),
    segment           LowCardinality(String),
    event_id          String                         CODEC(ZSTD(1)),
    event_time        DateTime64(3, 'UTC')           CODEC(Delta, ZSTD(1)),
    ingested_at       DateTime64(3, 'UTC')           CODEC(Delta, ZSTD(1)),
    event_schema_id   Int32                          CODEC(ZSTD(1)),
    origin_generation LowCardinality(String),
    origin_offset     UInt64                         CODEC(Delta, ZSTD(1)),
    source_generation LowCardinality(String),
    source_offset     UInt64                         CODEC(Delta, ZSTD(1)),
    feature_set       LowCardinality(String),
    features          Array(Float32)                 CODEC(ZSTD(1)),
    degraded          Bool,
    traceparent       Nullable(String)               CODEC(ZSTD(1)),
    model             LowCardinality(String),
    model_version     LowCardinality(String),
    model_digest      LowCardinality(String),
    role              LowCardinality(String),
    score             Float32                        CODEC(ZSTD(1)),
    outputs           Array(Float32)                 CODEC(ZSTD(1)),
    label             LowCardinality(Nullable(String)),
    provider          LowCardinality(String),
    batch_rows        Int32                          CODEC(ZSTD(1)),
    scored_at         DateTime64(3, 'UTC')           CODEC(Delta, ZSTD(1)),
    written_at        DateTime64(3, 'UTC')           CODEC(Delta, ZSTD(1)),
    kafka_generation  LowCardinality(String),
    kafka_partition   Int32                          CODEC(ZSTD(1)),
    kafka_offset      UInt64                         CODEC(Delta, ZSTD(1)),
    earliest          UInt128 MATERIALIZED bitNot(
        bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Milli(written_at)), 64), toUInt128(kafka_offset))
    ) CODEC(ZSTD(1)),
    INDEX kafka_offsets kafka_offset TYPE minmax GRANULARITY 1,
    INDEX origin_offsets origin_offset TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(earliest)
PARTITION BY toDate(ingested_at)
ORDER BY (
    pipeline, tenant, toStartOfHour(event_time), event_id, origin_generation, kafka_partition, origin_offset,
    if(role = 'shadow', concat(model, '/', model_version), '')
)
SETTINGS non_replicated_deduplication_window = 10000
