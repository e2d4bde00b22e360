-- Reference profiles as the control log has them: what panes are counted by and scores are compared with.
CREATE TABLE IF NOT EXISTS feature_profiles
(
    pipeline    LowCardinality(String),
    profile     LowCardinality(String),
    feature     LowCardinality(String),
    -- feature or score
    subject     LowCardinality(String),
    -- place in predictions.features, from 0; -1 for the score
    position    Int32,
    -- numeric or values
    kind        LowCardinality(String),
    lo          Float64,
    width       Float64,
    bins        UInt16,
    edges       Array(Float64),
    values      Array(Float64),
    others      Array(Float64),
    -- what is counted, in words, in the order of counts
    labels      Array(String),
    counts      Array(UInt64),
    rows        UInt64,
    mean        Float64,
    std         Float64,
    model       LowCardinality(String),
    feature_set LowCardinality(String),
    created_at  DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(created_at)
ORDER BY (pipeline, profile, subject, position)
