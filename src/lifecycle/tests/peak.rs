//! The highest value ever, over days that are closed, pruned and forgotten.

use super::*;
use crate::counter::Adjustment;
use crate::storage::compact::compact;
use crate::storage::{Batch, Tables};
use crate::writer::PreparedBatch;

fn peak(house: &House, counter: &str) -> Option<(i64, String)> {
    let (name, day) = (name(counter), house.running.day.look().day);
    let calendar = house.running.day.calendar();
    let read = house
        .running
        .reader
        .with(|tables| peak_ever(tables, calendar, &name, day));
    let peak = read.unwrap();
    peak.map(|peak| (peak.value, format!("{} {}", peak.date, peak.at - NOON)))
}

fn next_day(house: &House) {
    house.pass(DAY);
    house.archivist().catch_up().unwrap();
}

fn move_to(house: &House, counter: &str, value: i64) {
    house.ask(Command::Adjust {
        counter: name(counter),
        adjustment: Adjustment::To(value),
        reason: "a test".into(),
    });
}

#[test]
fn the_highest_value_outlives_the_days_that_are_kept() {
    let house = House::new();
    assert_eq!(peak(&house, "online"), None);
    house.up("online", None);
    house.pass(HOUR);
    move_to(&house, "online", 50);
    house.pass(HOUR);
    move_to(&house, "online", 3);
    let first = Some((50, format!("2026-11-24 {HOUR}")));
    assert_eq!(peak(&house, "online"), first, "while the day is counted");
    for _ in 0..100 {
        next_day(&house);
        move_to(&house, "online", 49);
        move_to(&house, "online", 7);
    }
    compact(&house.running.reader, &mut |_| Ok(())).unwrap();
    assert!(
        house
            .history("online")
            .iter()
            .all(|past| past.day > today())
    );
    assert_eq!(
        peak(&house, "online"),
        first,
        "its day is not kept any more"
    );
    let house = house.restart(HOUR);
    assert_eq!(peak(&house, "online"), first);
    // The first of equal ones stays; a higher one takes its place at once.
    move_to(&house, "online", 50);
    assert_eq!(peak(&house, "online"), first);
    move_to(&house, "online", 51);
    assert_eq!(peak(&house, "online").unwrap().0, 51);
    house.running.stop();
}

#[test]
fn the_record_goes_with_a_counter_that_is_gone() {
    let house = House::new();
    house.up("cup", None);
    move_to(&house, "cup", 50);
    next_day(&house);
    house.ask(Command::Delete {
        counter: name("cup"),
    });
    next_day(&house);
    let record = |house: &House| {
        let read = |tables: &Tables| tables.peak(&name("cup"));
        house.running.reader.with(read).unwrap()
    };
    assert_eq!(record(&house), None);
    // Its history stays, and is that of an earlier life.
    house.pass(8 * DAY);
    house.up("cup", None);
    next_day(&house);
    assert_eq!(record(&house).unwrap().0.value, 1);
    assert_eq!(peak(&house, "cup").unwrap().0, 1);
    house.running.stop();
}

#[test]
fn a_store_without_such_records_finds_them_in_its_history() {
    let house = House::new();
    house.up("online", None);
    move_to(&house, "online", 50);
    move_to(&house, "online", 3);
    next_day(&house);
    // As a program without these records would have left it.
    let mut batch = Batch::new();
    batch.delete_peak(&name("online"));
    let prepared = PreparedBatch {
        batch,
        ..PreparedBatch::default()
    };
    house.running.intake.carry_out(prepared).unwrap();
    let first = Some((50, "2026-11-24 0".to_owned()));
    assert_eq!(peak(&house, "online"), first);
    move_to(&house, "online", 4);
    next_day(&house);
    assert_eq!(peak(&house, "online"), first);
    let read = |tables: &Tables| tables.peak(&name("online"));
    let record = house.running.reader.with(read).unwrap();
    assert_eq!(record.unwrap().0.value, 50);
    house.running.stop();
}
