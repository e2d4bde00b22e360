-- The control topic, entry by entry: the audit trail. A redelivered entry collapses under FINAL.
CREATE TABLE IF NOT EXISTS control_log
(
    kind             LowCardinality(String),
    name             String               CODEC(ZSTD(1)),
    base_revision    Int64                CODEC(ZSTD(1)),
    value            String               CODEC(ZSTD(1)),
    actor            String               CODEC(ZSTD(1)),
    reason           String               CODEC(ZSTD(1)),
    at               DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    previous_hash    String               CODEC(ZSTD(1)),
    hash             String               CODEC(ZSTD(1)),
    written_at       DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    kafka_generation LowCardinality(String),
    kafka_partition  Int32                CODEC(ZSTD(1)),
    kafka_offset     UInt64               CODEC(Delta, ZSTD(1)),
    INDEX kafka_offsets kafka_offset TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
ORDER BY (kafka_generation, kafka_partition, kafka_offset)
SETTINGS non_replicated_deduplication_window = 10000
