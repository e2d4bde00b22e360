-- Predictions and what became of them, by the pane of the prediction and by how long its label took (whole hours, at most 720;
-- 65535 = no label yet). By the score's bin, of 200 between 0 and 1: how many were true, how many were not, and the sum of their scores; for
-- regression sums of errors. A pane is recomputed and replaced with all its lags. Read it FINAL.
CREATE TABLE IF NOT EXISTS performance_panes
(
    pipeline      LowCardinality(String),
    model         LowCardinality(String),
    model_version LowCardinality(String),
    role          LowCardinality(String),
    segment       LowCardinality(String),
    pane          DateTime('UTC')     CODEC(DoubleDelta, ZSTD(1)),
    lag_hours     UInt16,
    n             UInt64              CODEC(T64, ZSTD(1)),
    positive      Array(UInt64)       CODEC(T64, ZSTD(1)),
    negative      Array(UInt64)       CODEC(T64, ZSTD(1)),
    score_sums    Array(Float64)      CODEC(ZSTD(1)),
    -- sum of -log(probability of what was true), and of squared errors of the probability
    log_loss      Float64             CODEC(ZSTD(1)),
    squared_error Float64             CODEC(ZSTD(1)),
    absolute_error Float64            CODEC(ZSTD(1)),
    computed_at   DateTime64(3, 'UTC') CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(pane)
ORDER BY (pipeline, model, model_version, role, segment, pane, lag_hours)
