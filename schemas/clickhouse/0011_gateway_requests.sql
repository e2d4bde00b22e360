-- Requests that gateways answered, by minute, tenant, route and status. Read it FINAL: a report that was written twice has the same
-- instance and sequence both times and counts once. Usage by tenant and month is in gateway_usage, latency in gateway_latency.
-- latency[i] (from 1) counts requests that took up to 0.25 * 2^((i - 1) / 2) ms and longer than the one before; the last, the others too.
CREATE TABLE IF NOT EXISTS gateway_requests
(
    pipeline         LowCardinality(String),
    instance         LowCardinality(String),
    sequence         Int64                CODEC(Delta, ZSTD(1)),
    minute           DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    tenant           LowCardinality(String),
    route            LowCardinality(String),
    method           LowCardinality(String),
    status           Int32                CODEC(ZSTD(1)),
    requests         Int64                CODEC(ZSTD(1)),
    events           Int64                CODEC(ZSTD(1)),
    request_bytes    Int64                CODEC(ZSTD(1)),
    response_bytes   Int64                CODEC(ZSTD(1)),
    took_ms          Float64              CODEC(ZSTD(1)),
    latency          Array(Int64)         CODEC(ZSTD(1)),
    written_at       DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    kafka_generation LowCardinality(String),
    kafka_partition  Int32                CODEC(ZSTD(1)),
    kafka_offset     UInt64               CODEC(Delta, ZSTD(1)),
    INDEX kafka_offsets kafka_offset TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(minute)
ORDER BY (pipeline, tenant, minute, route, method, status, instance, sequence)
TTL toDateTime(written_at) + INTERVAL 25 MONTH
SETTINGS non_replicated_deduplication_window = 10000
