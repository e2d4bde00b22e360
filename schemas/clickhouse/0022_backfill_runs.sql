-- The runs of `millrace backfill`: what each scores, and the pipeline's threshold when it began. Read it FINAL.
CREATE TABLE IF NOT EXISTS backfill_runs
(
    pipeline      LowCardinality(String),
    run           String,
    -- stored: the features of predictions; events: computed of the events topic when it ran
    source        LowCardinality(String),
    model         LowCardinality(String),
    model_version LowCardinality(String),
    model_digest  LowCardinality(String),
    feature_set   LowCardinality(String),
    from_time     DateTime64(3, 'UTC'),
    to_time       DateTime64(3, 'UTC'),
    threshold     Float64,
    started_at    DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(started_at)
ORDER BY (pipeline, run)
SETTINGS non_replicated_deduplication_window = 10000
