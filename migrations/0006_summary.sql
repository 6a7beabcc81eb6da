-- Differences may be larger than a BIGINT. A percentage is positive where the value grew, whatever its sign was.
-- Who could read the view still can; views of others that rest on the old one keep it under another name.
DO $$
DECLARE
  acl aclitem[] := (SELECT relacl FROM pg_class WHERE oid = to_regclass('counter_daily_summary'));
  granted RECORD;
BEGIN
  BEGIN
    DROP VIEW counter_daily_summary;
  EXCEPTION WHEN dependent_objects_still_exist THEN
    ALTER VIEW counter_daily_summary RENAME TO counter_daily_summary_before_6;
  END;

  CREATE VIEW counter_daily_summary AS
  SELECT
    today.counter_name,
    today.date,
    today.final_value,
    before.final_value AS day_before,
    today.final_value::NUMERIC - before.final_value AS day_over_day,
    round(100 * (today.final_value::NUMERIC - before.final_value) / NULLIF(abs(before.final_value::NUMERIC), 0), 1)
      AS day_over_day_percent,
    week.final_value AS week_before,
    today.final_value::NUMERIC - week.final_value AS week_over_week,
    round(100 * (today.final_value::NUMERIC - week.final_value) / NULLIF(abs(week.final_value::NUMERIC), 0), 1)
      AS week_over_week_percent
  FROM counter_history today
  LEFT JOIN counter_history before ON before.counter_name = today.counter_name AND before.date = today.date - 1
  LEFT JOIN counter_history week ON week.counter_name = today.counter_name AND week.date = today.date - 7;

  FOR granted IN SELECT grantee, privilege_type FROM aclexplode(acl) WHERE privilege_type = 'SELECT' LOOP
    EXECUTE format('GRANT SELECT ON counter_daily_summary TO %s',
      CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(granted.grantee)) END);
  END LOOP;
END $$;
