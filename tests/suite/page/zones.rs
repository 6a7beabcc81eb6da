//! Local time on the page: the server's, on days that are an hour longer or shorter, seen from a machine whose own zone
//! changes its clocks on other days.

use counterd::calendar::Calendar;
use counterd::counter::{parse_rfc3339, rfc3339};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::past::{DAY, MINUTE, Past, STEP, minute_of, players};
use super::{calendar, check, then, tools};
use crate::harness::Setup;
use crate::midnight::ShiftedClock;

/// Zone, begin of days, now.
const PLACES: [(&str, &str, &str); 4] = [
    // 25 hours.
    ("Europe/Berlin", "00:00", "2026-10-25T15:01:00Z"),
    // 23 hours.
    ("America/New_York", "00:00", "2027-03-14T20:31:00Z"),
    // 24 and a half.
    ("Australia/Lord_Howe", "00:00", "2027-04-04T06:01:00Z"),
    ("Asia/Taipei", "04:00", "2026-11-24T10:31:00Z"),
];

#[test]
fn times_are_local_in_every_zone_whatever_the_viewers() {
    let test = "times_are_local_in_every_zone_whatever_the_viewers";
    let Some(tools) = tools(test) else {
        return;
    };
    for (zone, start, now) in PLACES {
        let home = TempDir::new().unwrap();
        let setup = Setup::new(home.path())
            .set("calendar.timezone", zone)
            .set("calendar.day_start", start);
        let Some((setup, clock)) = ShiftedClock::for_server(test, setup, home.path()) else {
            return;
        };
        let (calendar, now) = (calendar(zone, start), parse_rfc3339(now).unwrap());
        Past::live(setup.data(), &calendar, now, None);
        clock.set(now);
        let server = setup.start();
        let history = server
            .client()
            .get("/api/v1/counter/online_players/history")
            .ok();
        let peak_at = parse_rfc3339(history["days"][0]["peak_at"].as_str().unwrap()).unwrap();
        let known = json!({
            "zone": zone,
            "start": start,
            "clocks": (0..10).map(|after| text(minute_of(&calendar, now) + after)).collect::<Vec<_>>(),
            "then": then(&calendar, now),
            "rows": rows(&calendar, now),
            "peakClock": text(minute_of(&calendar, peak_at)),
            "expiries": expiries(&calendar, now),
        });
        check("zone", &tools, &server, &setup, known);
        server.stop();
    }
}

/// Local times over the next two years, each as a form shows it, and its instant.
fn expiries(calendar: &Calendar, now: i64) -> Vec<Value> {
    let instants = [30, 190, 380, 560, 720].map(|days| now + days * DAY);
    let both = instants.map(|at| {
        let at = at / MINUTE * MINUTE;
        json!({"shown": &calendar.local_text(at)[..16], "at": rfc3339(at)})
    });
    both.into()
}

/// `14:05`
fn text(minute: i64) -> String {
    format!("{:02}:{:02}", minute.rem_euclid(1440) / 60, minute % 60)
}

/// A row for each whole hour that local clocks show at the end of a step, until the day ends.
fn rows(calendar: &Calendar, now: i64) -> Vec<Value> {
    let day = calendar.local_day(calendar.day_of(now));
    let ends = (day.start + STEP..=day.end.unwrap()).step_by(usize::try_from(STEP).unwrap());
    // The minute before the end, so that at a change of clocks it is what they showed before.
    let hours = ends.filter(|end| minute_of(calendar, end - MINUTE) % 60 == 59);
    hours
        .map(|end| {
            let shown = minute_of(calendar, end - MINUTE) + 1;
            let was = end - STEP <= now;
            json!({
                "time": text(shown),
                "today": was.then(|| players(minute_of(calendar, end - STEP), 1000)),
                "yesterday": players(shown - 5, 940),
                "lastWeek": players(shown - 5, 880),
            })
        })
        .collect()
}
