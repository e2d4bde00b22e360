-- What shadow versions would have said, beside what was answered: every record of the shadow topics. Read it FINAL, or through
-- the views <pipeline>_versions and <pipeline>_rollout. The columns are those of predictions.
--
-- Best effort: an event that was dropped on the way has no row here, and one that was scored twice after a crash has one per
-- model and version, the first written.
--
-- Kept for 30 days after the shadow said it, whenever the event happened: an event of long ago that is replayed is compared
-- like any other.
CREATE TABLE IF NOT EXISTS shadow_predictions
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
    answer            LowCardinality(String)         DEFAULT 'scored' CODEC(ZSTD(1)),
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
    pipeline, tenant, toStartOfHour(event_time), event_id, origin_generation, kafka_partition, origin_offset, model, model_version
)
TTL toDateTime(written_at) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
