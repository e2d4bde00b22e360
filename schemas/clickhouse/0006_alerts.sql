-- Rules that began or ceased to fire. A redelivered alert collapses under FINAL.
CREATE TABLE IF NOT EXISTS alerts
(
    pipeline         LowCardinality(String),
    rule             LowCardinality(String),
    state            LowCardinality(String),
    severity         LowCardinality(String),
    message          String               CODEC(ZSTD(1)),
    evidence_sql     String               CODEC(ZSTD(1)),
    at               DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    written_at       DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    kafka_generation LowCardinality(String),
    kafka_partition  Int32                CODEC(ZSTD(1)),
    kafka_offset     UInt64               CODEC(Delta, ZSTD(1)),
    INDEX kafka_offsets kafka_offset TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
ORDER BY (pipeline, rule, at, kafka_generation, kafka_partition, kafka_offset)
SETTINGS non_replicated_deduplication_window = 10000
