-- Current values and closed days, as reports read them. All times are UTC.
CREATE TABLE counters (
  id SERIAL PRIMARY KEY, name VARCHAR(100) UNIQUE NOT NULL, current_value BIGINT DEFAULT 0,
  created_at TIMESTAMP DEFAULT NOW(), updated_at TIMESTAMP DEFAULT NOW());

CREATE TABLE counter_history (
  id SERIAL PRIMARY KEY, counter_name VARCHAR(100) NOT NULL, date DATE NOT NULL, final_value BIGINT NOT NULL,
  unique_users TEXT[], metadata JSONB, created_at TIMESTAMP DEFAULT NOW(), UNIQUE(counter_name, date));

-- The users of days that have too many for their row. Compared byte for byte, as they were counted.
CREATE TABLE counter_history_users (
  counter_name VARCHAR(100) COLLATE "C" NOT NULL, date DATE NOT NULL, user_id TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (counter_name, date, user_id));

-- One row: which database this is, the latest epoch that wrote here, and the last day that is here.
CREATE TABLE counterd_database (
  singleton BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (singleton),
  identity UUID NOT NULL DEFAULT gen_random_uuid(),
  epoch BIGINT NOT NULL DEFAULT 0,
  exported_through DATE);

INSERT INTO counterd_database DEFAULT VALUES;

-- Of which state of its counter a row of `counters` is: an older state never replaces a newer one.
CREATE TABLE counterd_counters (
  counter_name VARCHAR(100) COLLATE "C" PRIMARY KEY,
  epoch BIGINT NOT NULL,
  revision BIGINT NOT NULL,
  period DATE);

-- Under which epoch a row of `counter_history` was written, and a digest of its users in
-- `counter_history_users`.
CREATE TABLE counterd_days (
  counter_name VARCHAR(100) COLLATE "C" NOT NULL,
  date DATE NOT NULL,
  epoch BIGINT NOT NULL,
  users_digest BYTEA,
  PRIMARY KEY (counter_name, date));
