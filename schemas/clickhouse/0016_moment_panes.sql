-- Second moments of the features, standardised by the profile, pane by pane: sums that add up over any window.
-- Upper triangle of the sum of x * transpose(x), row by row, over the profile's features that have a variance. pane_seconds as in feature_panes.
CREATE TABLE IF NOT EXISTS moment_panes
(
    pipeline      LowCardinality(String),
    profile       LowCardinality(String),
    model_version LowCardinality(String),
    role          LowCardinality(String),
    segment       LowCardinality(String),
    pane_seconds  UInt32              CODEC(ZSTD(1)),
    pane          DateTime('UTC')     CODEC(DoubleDelta, ZSTD(1)),
    n             UInt64              CODEC(T64, ZSTD(1)),
    products      Array(Float64)      CODEC(ZSTD(1)),
    computed_at   DateTime64(3, 'UTC') CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(pane)
ORDER BY (pipeline, profile, model_version, role, segment, pane_seconds, pane)
