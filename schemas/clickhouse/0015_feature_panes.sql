-- How often a feature (or the score) had a value, pane by pane: counts in the order of its profile's. A pane is recomputed from
-- predictions FINAL and replaced whole, so that it is exact whatever was delivered twice or late. Read it FINAL.
-- segment '*' = all of them. pane_seconds = how wide panes are: those of another width are of another time's settings, never to be
-- added to these.
CREATE TABLE IF NOT EXISTS feature_panes
(
    pipeline      LowCardinality(String),
    profile       LowCardinality(String),
    model_version LowCardinality(String),
    role          LowCardinality(String),
    subject       LowCardinality(String),
    position      Int32,
    feature       LowCardinality(String),
    segment       LowCardinality(String),
    pane_seconds  UInt32              CODEC(ZSTD(1)),
    pane          DateTime('UTC')     CODEC(DoubleDelta, ZSTD(1)),
    n             UInt64              CODEC(T64, ZSTD(1)),
    counts        Array(UInt64)       CODEC(T64, ZSTD(1)),
    computed_at   DateTime64(3, 'UTC') CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(pane)
ORDER BY (pipeline, profile, model_version, role, subject, position, segment, pane_seconds, pane)
