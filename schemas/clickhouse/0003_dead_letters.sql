-- Every record that a stage gave up, once per stage and record, the first time counts. Read it FINAL.
-- Bytes arrive as base64 (JSON has no bytes) and are stored as they were.
CREATE TABLE IF NOT EXISTS dead_letters
(
    pipeline          LowCardinality(String),
    stage             LowCardinality(String),
    reason            LowCardinality(String),
    kind              LowCardinality(String),
    message           String               CODEC(ZSTD(1)),
    tenant            LowCardinality(String),
    event_id          Nullable(String)     CODEC(ZSTD(1)),
    topic             LowCardinality(String),
    partition         Int32                CODEC(ZSTD(1)),
    source_generation LowCardinality(String),
    source_offset     Int64                CODEC(Delta, ZSTD(1)),
    origin_generation LowCardinality(String),
    -- -1: the record has no event in the events topic
    origin_offset     Int64                CODEC(Delta, ZSTD(1)),
    schema_id         Nullable(Int32)      CODEC(ZSTD(1)),
    key_base64        Nullable(String)     EPHEMERAL,
    key               Nullable(String)     DEFAULT base64Decode(key_base64) CODEC(ZSTD(1)),
    value_base64      String               EPHEMERAL,
    value             String               DEFAULT base64Decode(value_base64) CODEC(ZSTD(1)),
    headers_base64    Map(String, String)  EPHEMERAL,
    headers           Map(String, String)  DEFAULT mapApply((k, v) -> (k, base64Decode(v)), headers_base64) CODEC(ZSTD(1)),
    attempts          Int32                CODEC(ZSTD(1)),
    failed_at         DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    replay_of         Nullable(String)     CODEC(ZSTD(1)),
    written_at        DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    kafka_generation  LowCardinality(String),
    kafka_partition   Int32                CODEC(ZSTD(1)),
    kafka_offset      UInt64               CODEC(Delta, ZSTD(1)),
    earliest          UInt128 MATERIALIZED bitNot(
        bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Milli(written_at)), 64), toUInt128(kafka_offset))
    ) CODEC(ZSTD(1)),
    INDEX kafka_offsets kafka_offset TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(earliest)
ORDER BY (pipeline, topic, source_generation, partition, source_offset, stage)
SETTINGS non_replicated_deduplication_window = 10000
