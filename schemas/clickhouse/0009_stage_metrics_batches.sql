-- What micro-batches say of themselves, and up to which rollout epoch a process is ready.
ALTER TABLE stage_metrics
    ADD COLUMN IF NOT EXISTS released_full     Int64   DEFAULT 0  CODEC(ZSTD(1)) AFTER largest_batch,
    ADD COLUMN IF NOT EXISTS released_drained  Int64   DEFAULT 0  CODEC(ZSTD(1)) AFTER released_full,
    ADD COLUMN IF NOT EXISTS released_deadline Int64   DEFAULT 0  CODEC(ZSTD(1)) AFTER released_drained,
    ADD COLUMN IF NOT EXISTS released_linger   Int64   DEFAULT 0  CODEC(ZSTD(1)) AFTER released_deadline,
    ADD COLUMN IF NOT EXISTS longest_wait_ms   Float64 DEFAULT 0  CODEC(ZSTD(1)) AFTER released_linger,
    ADD COLUMN IF NOT EXISTS mean_fill         Float64 DEFAULT 0  CODEC(ZSTD(1)) AFTER longest_wait_ms,
    ADD COLUMN IF NOT EXISTS ready_epoch       Int64   DEFAULT -1 CODEC(ZSTD(1)) AFTER mean_fill
