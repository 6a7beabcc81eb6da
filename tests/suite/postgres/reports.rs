//! The views, with values at their limits, and the upgrade of a view that others use.

use super::{database, options};
use crate::house::{House, NOON};

/// The rows of the view that say something of the day before, as `day|difference|percent`.
const SUMMARY: &str = "SELECT day_before, final_value, day_over_day, day_over_day_percent
    FROM counter_daily_summary WHERE day_before IS NOT NULL ORDER BY counter_name";

#[test]
fn differences_of_any_size_have_the_sign_of_the_change() {
    let Some(database) = database("differences_of_any_size_have_the_sign_of_the_change") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.exporter(options(&database)).catch_up().unwrap();
    database.sql(
        "INSERT INTO counter_history (counter_name, date, final_value) VALUES
           ('a', '2026-11-01', -10), ('a', '2026-11-02', -5),
           ('b', '2026-11-01', -5), ('b', '2026-11-02', -10),
           ('c', '2026-11-01', -9223372036854775808), ('c', '2026-11-02', 9223372036854775807),
           ('d', '2026-11-01', 0), ('d', '2026-11-02', 5),
           ('e', '2026-11-01', 80), ('e', '2026-11-02', 90)",
    );
    assert_eq!(
        database.sql(SUMMARY),
        "-10|-5|5|50.0\n-5|-10|-5|-100.0\n\
         -9223372036854775808|9223372036854775807|18446744073709551615|200.0\n\
         0|5|5|\n80|90|10|12.5"
    );
    assert_eq!(
        database.sql("SELECT max(week_over_week) FROM counter_daily_summary"),
        ""
    );
    house.stop();
}

#[test]
fn a_view_that_others_rest_on_is_upgraded_and_stays_granted() {
    let Some(database) = database("a_view_that_others_rest_on_is_upgraded_and_stays_granted")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.exporter(options(&database)).catch_up().unwrap();
    let older = include_str!("../../../migrations/0002_reports.sql");
    let older = older.split("-- The highest").next().unwrap();
    let before = format!(
        "DELETE FROM counterd_migrations WHERE version = 6; DROP VIEW counter_daily_summary; {older};
         DO $$ BEGIN CREATE ROLE \"the reports\"; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
         GRANT SELECT ON counter_daily_summary TO \"the reports\""
    );
    for rests in [
        "",
        "; CREATE VIEW rests AS SELECT * FROM counter_daily_summary",
    ] {
        database.sql(&format!("{before}{rests}"));
        house.exporter(options(&database)).catch_up().unwrap();
        assert_eq!(
            database.sql(
                "SELECT pg_typeof(day_over_day) FROM counter_daily_summary
                 UNION ALL SELECT 'text' WHERE has_table_privilege('the reports', 'counter_daily_summary', 'SELECT')"
            ),
            "text"
        );
        assert_eq!(
            database.sql(
                "SELECT format_type(atttypid, atttypmod) FROM pg_attribute
                 WHERE attrelid = 'counter_daily_summary'::regclass AND attname = 'day_over_day'"
            ),
            "numeric"
        );
    }
    assert_eq!(database.sql("SELECT * FROM rests"), "");
    house.stop();
}
