-- How far a window's predictions are from the profile, by feature, segment and metric. Everything is recomputable from feature_panes and
-- feature_profiles. status: ok, insufficient_data. drift = value above threshold, after the correction over all that was tested at once.
CREATE TABLE IF NOT EXISTS drift_scores
(
    pipeline      LowCardinality(String),
    profile       LowCardinality(String),
    model_version LowCardinality(String),
    role          LowCardinality(String),
    feature       LowCardinality(String),
    subject       LowCardinality(String),
    segment       LowCardinality(String),
    metric        LowCardinality(String),
    window_start  DateTime('UTC'),
    window_end    DateTime('UTC'),
    status        LowCardinality(String),
    value         Float64,
    -- what the metric reaches without any drift, in 95 of 100 windows of this size
    noise_floor   Float64,
    threshold     Float64,
    -- of the metric's test, and after the correction: psi, js, hellinger, tvd, linf and chi2 share the chi-square test (of bins with enough
    -- records), ks and w1 that of Kolmogorov and Smirnov
    p_value       Nullable(Float64),
    p_adjusted    Nullable(Float64),
    drift         Bool,
    n_reference   UInt64,
    n             UInt64,
    -- of psi by bin, in the order of the profile's counts without missing; of reconstruction_error by feature, as params say; else empty
    contributions Array(Float32)      CODEC(ZSTD(1)),
    -- the window is over: nothing but late records will change it
    closed        Bool,
    -- threshold_by: what decided the threshold: practical, noise_floor, or reference_windows (how far windows of the reference lie from it)
    params        Map(LowCardinality(String), String),
    computed_at   DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(window_start)
ORDER BY (pipeline, profile, model_version, role, metric, subject, feature, segment, window_start, window_end)
