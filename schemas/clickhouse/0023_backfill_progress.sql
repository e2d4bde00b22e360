-- How far a run of `millrace backfill` has come: of each partition of the events topic and each day of ingestion, the first event that is
-- not scored. Written behind the rows that it counts: what a crash leaves between the two is scored again. Read it FINAL.
CREATE TABLE IF NOT EXISTS backfill_progress
(
    pipeline          LowCardinality(String),
    run               String,
    day               Date,
    origin_generation LowCardinality(String),
    kafka_partition   Int32,
    next_offset       UInt64
)
ENGINE = ReplacingMergeTree(next_offset)
ORDER BY (pipeline, run, day, origin_generation, kafka_partition)
SETTINGS non_replicated_deduplication_window = 10000
