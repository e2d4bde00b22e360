-- How good predictions of a window were, as known after so many hours (65535 = all that is known), and what is estimated before labels
-- (metric estimated_...). coverage = labels / predictions. Recomputable from performance_panes.
CREATE TABLE IF NOT EXISTS quality_scores
(
    pipeline      LowCardinality(String),
    model         LowCardinality(String),
    model_version LowCardinality(String),
    role          LowCardinality(String),
    segment       LowCardinality(String),
    metric        LowCardinality(String),
    window_start  DateTime('UTC'),
    window_end    DateTime('UTC'),
    known_after_hours UInt16,
    status        LowCardinality(String),
    value         Float64,
    -- standard error of the value where it is known, else NaN
    standard_error Float64,
    n             UInt64,
    labels        UInt64,
    coverage      Float64,
    closed        Bool,
    params        Map(LowCardinality(String), String),
    computed_at   DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(window_start)
ORDER BY (pipeline, model, model_version, role, metric, segment, window_start, window_end, known_after_hours)
