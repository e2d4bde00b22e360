-- Up to where panes have been computed: of each partition of the predictions, shadow and labels topics, the first record that they do not have.
CREATE TABLE IF NOT EXISTS pane_progress
(
    pipeline         LowCardinality(String),
    -- features/<profile>/<pane seconds>, performance/<pane seconds>/<threshold>
    panes            LowCardinality(String),
    -- predictions, shadow or labels
    input            LowCardinality(String),
    kafka_generation LowCardinality(String),
    kafka_partition  Int32,
    next_offset      UInt64,
    computed_at      DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(computed_at)
ORDER BY (pipeline, panes, input, kafka_generation, kafka_partition)
