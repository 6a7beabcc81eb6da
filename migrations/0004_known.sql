-- What a server that has no store to read must know of a value besides: when its counter ends, and whether
-- the store itself can read it.
ALTER TABLE counterd_counters
  ADD COLUMN expires_at TIMESTAMP,
  ADD COLUMN unreadable BOOLEAN NOT NULL DEFAULT FALSE;
