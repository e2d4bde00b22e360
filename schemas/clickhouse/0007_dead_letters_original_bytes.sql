-- Of a record that was too large for its letter: key, value and headers are only the beginning then.
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS original_bytes Nullable(Int64) CODEC(ZSTD(1)) AFTER replay_of
