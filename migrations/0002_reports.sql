-- Each day beside the day before and the same day of the week before. A day without a record is NULL.
CREATE VIEW counter_daily_summary AS
SELECT
  today.counter_name,
  today.date,
  today.final_value,
  before.final_value AS day_before,
  today.final_value - before.final_value AS day_over_day,
  round(100.0 * (today.final_value - before.final_value) / NULLIF(before.final_value, 0), 1) AS day_over_day_percent,
  week.final_value AS week_before,
  today.final_value - week.final_value AS week_over_week,
  round(100.0 * (today.final_value - week.final_value) / NULLIF(week.final_value, 0), 1) AS week_over_week_percent
FROM counter_history today
LEFT JOIN counter_history before ON before.counter_name = today.counter_name AND before.date = today.date - 1
LEFT JOIN counter_history week ON week.counter_name = today.counter_name AND week.date = today.date - 7;

-- The highest and the lowest value of each day, and when each was first reached (UTC).
CREATE VIEW counter_daily_peak AS
SELECT
  counter_name,
  date,
  (metadata ->> 'peak')::BIGINT AS peak,
  (metadata ->> 'peak_at')::TIMESTAMPTZ AT TIME ZONE 'UTC' AS peak_at,
  (metadata ->> 'low')::BIGINT AS low,
  (metadata ->> 'low_at')::TIMESTAMPTZ AT TIME ZONE 'UTC' AS low_at
FROM counter_history;
