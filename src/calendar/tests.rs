//! The calendar against an oracle's table, against a scan by definition, and against itself.

use proptest::prelude::*;

use super::*;

const CASES: &str = include_str!("../../tests/calendar-cases.tsv");

fn calendar(zone: &str, day_start: &str) -> Calendar {
    Calendar::new(zone, day_start.parse().unwrap()).unwrap()
}

fn ms(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

#[test]
fn days_begin_and_end_where_the_oracle_says() {
    let mut rows = 0;
    for line in CASES.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [zone, date, day_start, start, next, seconds] = fields[..] else {
            panic!("not six fields: {line}");
        };
        let calendar = calendar(zone, day_start);
        let day: Day = date.parse().unwrap();
        let (start, next) = (ms(start), ms(next));
        assert_eq!(calendar.start_of(day), start, "start: {line}");
        assert_eq!(calendar.start_of(day.next()), next, "next start: {line}");
        assert_eq!(calendar.end_of(day), next, "end: {line}");
        assert_eq!(next - start, seconds.parse::<i64>().unwrap() * 1000);
        if start < next {
            for (instant, name) in [(start, "first"), (next - 1, "last")] {
                assert_eq!(calendar.day_of(instant), day, "{name} instant: {line}");
                assert_eq!(calendar.next_boundary(instant), next, "{name}: {line}");
            }
        } else {
            assert_eq!(calendar.day_of(start), day.next(), "skipped: {line}");
        }
        assert!(calendar.day_of(start - 1) < day, "before: {line}");
        rows += 1;
    }
    assert_eq!(rows, 136);
}

#[test]
fn a_day_start_that_a_fold_repeats_begins_the_day_once_the_first_time() {
    // At 00:01 the clock went back to 23:01, so midnight came twice.
    let calendar = calendar("America/St_Johns", "00:00");
    let day: Day = "2006-10-29".parse().unwrap();
    let first_midnight = ms("2006-10-29T02:30:00Z");
    assert_eq!(calendar.start_of(day), first_midnight);
    for minutes in 0..120 {
        let instant = first_midnight + minutes * 60_000;
        assert_eq!(calendar.day_of(instant), day, "{minutes} minutes in");
    }
}

#[test]
fn a_skipped_day_is_empty_and_nothing_belongs_to_it() {
    let calendar = calendar("Pacific/Apia", "00:00");
    let skipped: Day = "2011-12-30".parse().unwrap();
    assert_eq!(calendar.start_of(skipped), calendar.end_of(skipped));
    let boundary = calendar.start_of(skipped);
    assert_eq!(calendar.next_boundary(boundary - 1), boundary);
    for hours in -48..48 {
        assert_ne!(calendar.day_of(boundary + hours * 3_600_000), skipped);
    }
}

#[test]
fn days_are_written_and_read_as_dates() {
    for (text, days) in [
        ("1970-01-01", 0),
        ("1969-12-31", -1),
        ("2026-11-24", 20_781),
        ("2000-02-29", 11_016),
        ("0001-01-01", Day::MIN.days()),
        ("9999-12-31", Day::MAX.days()),
    ] {
        let day: Day = text.parse().unwrap();
        assert_eq!(day.days(), days, "{text}");
        assert_eq!(day.to_string(), text);
        assert_eq!(serde_json::to_string(&day).unwrap(), format!("\"{text}\""));
        assert_eq!(
            serde_json::from_str::<Day>(&format!("\"{text}\"")).unwrap(),
            day
        );
    }
    assert_eq!(format!("{:>12}|", Day(0)), "  1970-01-01|");
}

#[test]
fn what_is_no_day_is_refused() {
    for text in [
        "",
        "2026-11-2",
        "2026-11-244",
        "2026-1-024",
        "20261124",
        "2026/11/24",
        "2026-02-29",
        "2026-04-31",
        "2026-00-10",
        "2026-13-01",
        "2026-11-00",
        "0000-12-31",
        "+026-11-24",
        " 026-11-24",
        "２026-11-24",
    ] {
        assert_eq!(text.parse::<Day>(), Err(NotADay), "{text:?}");
    }
    assert!(serde_json::from_str::<Day>("20781").is_err());
    assert_eq!(Day::from_days(Day::MAX.days() + 1), Err(NotADay));
    assert_eq!(Day::from_days(Day::MIN.days() - 1), Err(NotADay));
    assert_eq!(Day::from_days(i32::MAX), Err(NotADay));
}

#[test]
fn the_calendar_s_ends_hold() {
    let calendar = calendar("Pacific/Kiritimati", "23:59");
    assert_eq!(Day::MAX.next(), Day::MAX);
    assert_eq!(Day::MIN.previous(), Day::MIN);
    assert_eq!(calendar.day_of(i64::MAX), Day::MAX);
    assert_eq!(calendar.day_of(i64::MIN), Day::MIN);
    assert_eq!(calendar.next_boundary(i64::MAX), i64::MAX);
    assert_eq!(calendar.end_of(Day::MAX), i64::MAX);
}

#[test]
fn day_starts_are_times_of_day() {
    for text in ["00:00", "04:00", "09:05", "19:30", "23:59"] {
        assert_eq!(text.parse::<DayStart>().unwrap().to_string(), text);
    }
    for text in [
        "", "4:00", "24:00", "29:00", "12:60", "12:5", "1200", "-1:00", "04:00:00",
    ] {
        assert_eq!(text.parse::<DayStart>(), Err(NotADayStart), "{text:?}");
    }
}

#[test]
fn zones_are_the_bundled_ones_and_a_near_miss_is_answered() {
    let start = DayStart::default();
    assert_eq!(
        Calendar::new("europe/berlin", start).unwrap().zone_name(),
        "Europe/Berlin"
    );
    for (asked, near) in [
        ("Europe/Berln", Some("Europe/Berlin")),
        ("Berlin", Some("Europe/Berlin")),
        ("New York", Some("America/New_York")),
        ("qqqqqqqq", None),
        ("", None),
    ] {
        let error = Calendar::new(asked, start).unwrap_err();
        let hint = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
        assert_eq!(error.to_string(), format!("no such time zone{hint}"));
    }
    assert!(Calendar::new("Etc/Unknown", start).is_err());
    assert!(tzdb_version() >= "2026f", "{}", tzdb_version());
}

#[test]
fn the_machine_s_zone_is_found_by_name_only() {
    let dir = tempfile::tempdir().unwrap();
    let link = |name: &str, target: &str| {
        let path = dir.path().join(name);
        std::os::unix::fs::symlink(target, &path).unwrap();
        path
    };
    let berlin = link("berlin", "/usr/share/zoneinfo/Europe/Berlin");
    let right = link("right", "../usr/share/zoneinfo/right/Asia/Taipei");
    let twice = link("twice", "berlin");
    let odd = link("odd", "/usr/share/zoneinfo/Mars/Olympus");
    let file = dir.path().join("file");
    std::fs::write(&file, "TZif").unwrap();
    let none = dir.path().join("none");

    for (tz, localtime, name, warns) in [
        (Some("Asia/Tokyo"), &berlin, "Asia/Tokyo", false),
        (Some(":Asia/Tokyo"), &berlin, "Asia/Tokyo", false),
        (
            Some("/usr/share/zoneinfo/Asia/Tokyo"),
            &berlin,
            "Asia/Tokyo",
            false,
        ),
        (Some(""), &berlin, "UTC", false),
        (Some("CET-1CEST,M3.5.0"), &berlin, "UTC", true),
        (None, &berlin, "Europe/Berlin", false),
        (None, &right, "Asia/Taipei", false),
        (None, &twice, "Europe/Berlin", false),
        (None, &odd, "UTC", true),
        (None, &file, "UTC", true),
        (None, &none, "UTC", true),
    ] {
        let found = machine_zone(tz, localtime);
        assert_eq!(found.name, name, "{tz:?} {}", localtime.display());
        assert_eq!(found.warning.is_some(), warns, "{found:?}");
    }
}

/// The start of `day` straight from its definition: every second is looked at.
fn start_by_scan(calendar: &Calendar, day: Day) -> i64 {
    let target = i64::from(day.days()) * DAY_MS + calendar.day_start.ms();
    let shows = |instant: i64| instant + calendar.offset_ms(instant) >= target;
    let mut instant = target - 27 * 3_600_000;
    assert!(!shows(instant));
    // Offsets change on whole minutes in the years looked at, so that minutes find the minute and
    // seconds the rest.
    while !shows(instant) {
        instant += 60_000;
    }
    (instant - 60_000..=instant)
        .step_by(1000)
        .find(|second| shows(*second))
        .unwrap()
}

fn any_zone() -> impl Strategy<Value = String> {
    let names: Vec<String> = TimeZoneDatabase::bundled()
        .available()
        .map(|name| name.as_str().to_owned())
        .collect();
    assert!(names.len() > 400);
    proptest::sample::select(names)
}

/// A calendar and an instant near one of its offset changes, between 1975 and 2100.
fn near_a_transition() -> impl Strategy<Value = (Calendar, i64)> {
    (
        any_zone(),
        0u16..1440,
        157_766_400i64..4_102_444_800,
        -180_000i64..180_000,
    )
        .prop_map(|(zone, minutes, second, away)| {
            // Half of the day starts lie where offsets change in practice.
            let minutes = if minutes % 2 == 0 {
                minutes % 240
            } else {
                minutes
            };
            let day_start = format!("{:02}:{:02}", minutes / 60, minutes % 60);
            let calendar = Calendar::new(&zone, day_start.parse().unwrap()).unwrap();
            let from = Timestamp::from_second(second).unwrap();
            let near = calendar
                .zone
                .following(from)
                .next()
                .map_or(second, |t| t.timestamp().as_second());
            (calendar, (near + away) * 1000 + 123)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_start_is_what_the_definition_says((calendar, instant) in near_a_transition()) {
        let day = calendar.day_of(instant);
        prop_assert_eq!(calendar.start_of(day), start_by_scan(&calendar, day));
    }

    #[test]
    fn every_instant_belongs_to_exactly_one_day((calendar, instant) in near_a_transition()) {
        let day = calendar.day_of(instant);
        let (start, end) = (calendar.start_of(day), calendar.end_of(day));
        prop_assert!(start <= instant && instant < end);
        prop_assert_eq!(start % 1000, 0);
        prop_assert_eq!(calendar.day_of(start), day);
        prop_assert_eq!(calendar.day_of(end - 1), day);
        prop_assert!(calendar.day_of(end) > day);
        prop_assert!(calendar.day_of(start - 1) < day);
        prop_assert_eq!(calendar.next_boundary(instant), end);
    }

    #[test]
    fn days_are_monotone((calendar, instant) in near_a_transition(), later in 0i64..300_000_000) {
        prop_assert!(calendar.day_of(instant) <= calendar.day_of(instant + later));
        let mut day = calendar.day_of(instant).previous().previous();
        for _ in 0..5 {
            prop_assert!(calendar.start_of(day) <= calendar.start_of(day.next()));
            day = day.next();
        }
    }

    #[test]
    fn dates_agree_with_jiff(days in Day::MIN.days()..=Day::MAX.days()) {
        let day = Day::from_days(days).unwrap();
        let date = jiff::civil::date(1970, 1, 1)
            .checked_add(jiff::Span::new().days(days))
            .unwrap();
        prop_assert_eq!(day.to_string(), date.to_string());
        prop_assert_eq!(day.to_string().parse::<Day>(), Ok(day));
    }
}

#[test]
fn aliases_are_one_zone_and_neighbours_are_not() {
    for (a, b) in [
        ("Etc/UTC", "UTC"),
        ("Europe/Kiev", "Europe/Kyiv"),
        ("Asia/Calcutta", "Asia/Kolkata"),
        ("No/Where", "No/Where"),
    ] {
        assert!(is_one_zone(a, b), "{a} {b}");
    }
    for (a, b) in [
        ("Europe/Berlin", "Europe/London"),
        ("Europe/Berlin", "Africa/Algiers"),
        ("UTC", "Europe/London"),
        ("UTC", "No/Where"),
    ] {
        assert!(!is_one_zone(a, b), "{a} {b}");
    }
}

#[test]
fn an_abbreviation_is_answered_with_the_zones_of_that_name() {
    let error = Calendar::new("CST", DayStart::default()).unwrap_err();
    let text = error.to_string();
    for zone in ["America/Chicago", "Asia/Shanghai", "America/Havana"] {
        assert!(text.contains(zone), "{text}");
    }
}

#[test]
fn a_tz_that_is_a_path_is_followed_to_its_zone() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("localtime");
    std::os::unix::fs::symlink("/usr/share/zoneinfo/Asia/Tokyo", &link).unwrap();
    for tz in [format!(":{}", link.display()), link.display().to_string()] {
        let found = machine_zone(Some(&tz), Path::new("/nowhere"));
        assert_eq!(found.name, "Asia/Tokyo", "{found:?}");
        assert_eq!(found.warning, None);
    }
}
