-- Whether the model answered in time, after the pipeline's deadline, or the pipeline's fallback stands for its answer.
ALTER TABLE predictions ADD COLUMN IF NOT EXISTS answer LowCardinality(String) DEFAULT 'scored' CODEC(ZSTD(1)) AFTER scored_at
