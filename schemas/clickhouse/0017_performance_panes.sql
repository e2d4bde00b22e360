-- Predictions and what became of them, by the pane of the prediction and by how long its label took (whole hours, at most 720;
-- 65535 = no label yet). A label that came before its event counts as 0 hours. By the score's bin, of 200 between 0 and 1: how many there are, and of
-- those with a label how many were true, how many were not; for a class, true means that the prediction named it. For labels that are
-- numbers (kind 'number') the bins of truth are empty and the errors are of the score. Predictions are those of the model: what a
-- fallback answered is not among them. A pane is recomputed and replaced with all its lags; one that has gone has n = 0. Read it FINAL.
-- segment '*' = all of them. pane_seconds as in feature_panes.
CREATE TABLE IF NOT EXISTS performance_panes
(
    pipeline       LowCardinality(String),
    model          LowCardinality(String),
    model_version  LowCardinality(String),
    role           LowCardinality(String),
    segment        LowCardinality(String),
    pane_seconds   UInt32              CODEC(ZSTD(1)),
    pane           DateTime('UTC')     CODEC(DoubleDelta, ZSTD(1)),
    lag_hours      UInt16,
    -- of the label: boolean, class, number; empty = no label
    kind           LowCardinality(String),
    n              UInt64              CODEC(T64, ZSTD(1)),
    counts         Array(UInt64)       CODEC(T64, ZSTD(1)),
    score_sums     Array(Float64)      CODEC(ZSTD(1)),
    positive       Array(UInt64)       CODEC(T64, ZSTD(1)),
    negative       Array(UInt64)       CODEC(T64, ZSTD(1)),
    -- at the pipeline's threshold when the pane was computed
    true_positive  UInt64              CODEC(T64, ZSTD(1)),
    false_positive UInt64              CODEC(T64, ZSTD(1)),
    false_negative UInt64              CODEC(T64, ZSTD(1)),
    -- sum of -log(probability of what was true)
    log_loss       Float64             CODEC(ZSTD(1)),
    -- sums of (score - truth)^2, its square, and |score - truth|
    squared_error  Float64             CODEC(ZSTD(1)),
    fourth_power_error Float64         CODEC(ZSTD(1)),
    absolute_error Float64             CODEC(ZSTD(1)),
    computed_at    DateTime64(3, 'UTC') CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(pane)
ORDER BY (pipeline, model, model_version, role, segment, pane_seconds, pane, lag_hours, kind)
