-- The truth about events, one row per event id: the label that was written last wins. Read it FINAL.
-- Not partitioned: a label and its correction may be months apart and must meet.
CREATE TABLE IF NOT EXISTS labels
(
    pipeline         LowCardinality(String),
    tenant           LowCardinality(String),
    event_id         String               CODEC(ZSTD(1)),
    -- boolean (value is 1 or 0), number (value) or class (class)
    kind             LowCardinality(String),
    value            Float64              CODEC(ZSTD(1)),
    class            LowCardinality(String),
    label_time       DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    written_at       DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    kafka_generation LowCardinality(String),
    kafka_partition  Int32                CODEC(ZSTD(1)),
    kafka_offset     UInt64               CODEC(Delta, ZSTD(1)),
    -- append time before offset: offsets of another partition (the topic has grown) or of a topic made anew do not compare
    latest           UInt128 MATERIALIZED
        bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Milli(written_at)), 64), toUInt128(kafka_offset))
        CODEC(ZSTD(1)),
    INDEX kafka_offsets kafka_offset TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(latest)
ORDER BY (pipeline, tenant, event_id)
SETTINGS non_replicated_deduplication_window = 10000
