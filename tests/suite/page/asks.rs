//! What the API says for the page's sake: the series of a day or up to an instant, the highest value ever, local time.

use counterd::calendar::Day;
use counterd::counter::rfc3339;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::past::{DAY, MINUTE};
use super::{calendar, now, with_a_past};
use crate::harness::Setup;

#[test]
fn a_series_is_of_a_local_day_or_up_to_an_instant() {
    let home = TempDir::new().unwrap();
    let (setup, _) = with_a_past(&home);
    let server = setup.start();
    let mut client = server.client();
    let taipei = calendar("Asia/Taipei", "00:00");
    let today = taipei.day_of(now());
    let day_before = |days: i32| Day::from_days(today.days() - days).unwrap();
    let path = "/api/v1/counter/online_players/series";

    let yesterday = client
        .get(&format!("{path}?day={}&step=5m", day_before(1)))
        .ok();
    let start = taipei.start_of(day_before(1));
    let bounds = json!({"date": day_before(1), "starts_at": rfc3339(start), "ends_at": rfc3339(start + DAY)});
    assert_eq!(yesterday["day"], bounds);
    let points = yesterday["points"].as_array().unwrap();
    assert_eq!(points.len(), 288);
    assert_eq!(points[0]["at"], rfc3339(start));
    assert!(points.iter().all(|point| point["last"].is_i64()));
    // The same points, asked for by their end.
    let to = rfc3339(start + DAY - 1);
    let same = client
        .get(&format!("{path}?to={to}&range=1439m&step=5m"))
        .ok();
    assert_eq!(same["points"], yesterday["points"]);
    assert_eq!(same["day"], Value::Null);
    // Of a day under way there are points up to now.
    let so_far = client.get(&format!("{path}?day={today}&step=5m")).ok();
    let last = so_far["points"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["last"], client.value("online_players"));

    let far = rfc3339(now() - 40 * DAY);
    for wrong in [
        format!("day={today}&range=1h"),
        format!("day={today}&to={to}"),
        format!("day={}", day_before(-1)),
        format!("day={}", day_before(40)),
        format!("to={far}"),
        format!("to={}", rfc3339(now() + 10 * MINUTE)),
        format!("day={today}&step=30s"),
        "day=yesterday".to_owned(),
    ] {
        client
            .get(&format!("{path}?{wrong}"))
            .refused(400, "invalid_query");
    }
    server.stop();
}

#[test]
fn local_time_is_told_with_its_changes() {
    let home = TempDir::new().unwrap();
    let server = Setup::new(home.path())
        .set("calendar.timezone", "Europe/Berlin")
        .set("calendar.day_start", "04:00")
        .set("calendar.retention_days", "400")
        .start();
    let told = server.client().get("/readyz?verbose").ok()["calendar"].clone();
    let berlin = calendar("Europe/Berlin", "04:00");
    let today = berlin.local_day(berlin.day_of(now()));
    assert_eq!(
        [
            &told["timezone"],
            &told["day_start"],
            &told["starts_at"],
            &told["ends_at"]
        ],
        [
            &json!("Europe/Berlin"),
            &json!("04:00"),
            &json!(rfc3339(today.start)),
            &json!(rfc3339(today.end.unwrap()))
        ]
    );
    // In 400 days clocks change at least twice, by an hour each.
    let offsets = told["offsets"].as_array().unwrap();
    assert!(offsets.len() >= 3, "{told}");
    for two in offsets.windows(2) {
        assert!(two[0]["from"].as_str() < two[1]["from"].as_str(), "{told}");
        let change = two[1]["seconds"].as_i64().unwrap() - two[0]["seconds"].as_i64().unwrap();
        assert_eq!(change.abs(), 3600, "{told}");
    }
    server.stop();
}
