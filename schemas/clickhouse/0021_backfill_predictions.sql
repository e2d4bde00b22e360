-- What a version says of history: the rows of `millrace backfill`, apart from what was served. Read it FINAL. Nothing but its report reads
-- it: neither views, panes nor scores do.
--
-- One row is one event in one run; scored again after a crash, it replaces itself. segment, event_time and degraded belong to the features
-- that were scored. problem = why the version gave no answer (a dead letter's reason), else empty; the score is
-- NaN then. A partition is a run: ALTER TABLE backfill_predictions DROP PARTITION ('<pipeline>', '<run>') removes it.
CREATE TABLE IF NOT EXISTS backfill_predictions
(
    run               String                         CODEC(ZSTD(1)),
    pipeline          LowCardinality(String),
    model             LowCardinality(String),
    model_version     LowCardinality(String),
    tenant            LowCardinality(String),
    segment           LowCardinality(String),
    event_id          String                         CODEC(ZSTD(1)),
    event_time        DateTime64(3, 'UTC')           CODEC(Delta, ZSTD(1)),
    origin_generation LowCardinality(String),
    kafka_partition   Int32                          CODEC(ZSTD(1)),
    origin_offset     UInt64                         CODEC(Delta, ZSTD(1)),
    degraded          Bool,
    score             Float32                        CODEC(ZSTD(1)),
    outputs           Array(Float32)                 CODEC(ZSTD(1)),
    label             LowCardinality(Nullable(String)),
    problem           LowCardinality(String),
    scored_at         DateTime64(3, 'UTC')           CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(scored_at)
PARTITION BY (pipeline, run)
ORDER BY (pipeline, run, origin_generation, kafka_partition, origin_offset)
SETTINGS non_replicated_deduplication_window = 10000
