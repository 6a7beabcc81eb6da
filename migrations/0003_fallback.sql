-- What a server that has no store to read says of a value: its counter's kind, whether the counter is gone,
-- and as of when the rows of `counters` had everything.
ALTER TABLE counterd_counters
  ADD COLUMN kind VARCHAR(10),
  ADD COLUMN gone BOOLEAN NOT NULL DEFAULT FALSE;

ALTER TABLE counterd_database
  ADD COLUMN values_as_of TIMESTAMP;
