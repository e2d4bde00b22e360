-- What each stage process did, interval by interval. A redelivered record collapses under FINAL.
CREATE TABLE IF NOT EXISTS stage_metrics
(
    pipeline         LowCardinality(String),
    stage            LowCardinality(String),
    instance         LowCardinality(String),
    at               DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    interval_ms      Int32                CODEC(ZSTD(1)),
    records_in       Int64                CODEC(ZSTD(1)),
    records_out      Int64                CODEC(ZSTD(1)),
    dead_letters     Int64                CODEC(ZSTD(1)),
    batches          Int64                CODEC(ZSTD(1)),
    retries          Int64                CODEC(ZSTD(1)),
    busy_ms          Float64              CODEC(ZSTD(1)),
    largest_batch    Int32                CODEC(ZSTD(1)),
    written_at       DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    kafka_generation LowCardinality(String),
    kafka_partition  Int32                CODEC(ZSTD(1)),
    kafka_offset     UInt64               CODEC(Delta, ZSTD(1)),
    INDEX kafka_offsets kafka_offset TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (pipeline, stage, at, instance, kafka_generation, kafka_partition, kafka_offset)
SETTINGS non_replicated_deduplication_window = 10000
