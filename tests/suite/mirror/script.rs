//! The script that writes, alone: whatever order calls come in, what is there is the latest.

use super::redis;
use crate::harness::{Dice, Redis, seed};

const CLAIM: &str = include_str!("../../../src/mirror/claim.lua");
const WRITE: &str = concat!(
    include_str!("../../../src/mirror/marker.lua"),
    include_str!("../../../src/mirror/write.lua")
);

struct State {
    epoch: u64,
    revision: u64,
    period: &'static str,
    value: i64,
}

/// What the store has come to: all of it.
const LATEST: u64 = 9_007_199_254_740_991;

/// A call for the counter `c`, as number `number` of the sequence `id`.
fn write(redis: &Redis, id: &str, number: u64, state: &State) -> (String, String, String, String) {
    let mut command = redis::cmd("EVAL");
    command.arg(WRITE).arg(4);
    command.arg("counterd:mirror").arg("counterd:names");
    command.arg("counter:c").arg("counter:c:meta");
    command
        .arg(id)
        .arg(number)
        .arg(number + 1)
        .arg(state.epoch)
        .arg(LATEST);
    command.arg("").arg("");
    command.arg("c").arg(state.value).arg(state.revision);
    command
        .arg(state.period)
        .arg("2026-11-24T12:00:00.000Z")
        .arg("sum")
        .arg("");
    redis.ask(&mut command)
}

/// Lineage and epoch of the marker, as the script that claims it is told them.
type Seen = [Option<String>; 2];

fn marker(redis: &Redis) -> Seen {
    redis.say("HMGET counterd:mirror lineage epoch")
}

/// Claims the marker that was seen; returns whether it was still the same.
fn claim_seen(redis: &Redis, seen: Seen, id: &str, epoch: u64) -> bool {
    let mut command = redis::cmd("EVAL");
    command.arg(CLAIM).arg(2);
    command.arg("counterd:mirror").arg("counterd:names");
    for seen in seen {
        command.arg(seen.unwrap_or_default());
    }
    command.arg(id).arg(epoch);
    redis.ask(command.arg("00112233-4455-6677-8899-aabbccddeeff"))
}

fn claim(redis: &Redis, id: &str, epoch: u64) {
    assert!(claim_seen(redis, marker(redis), id, epoch));
}

#[test]
fn the_latest_state_stays_whatever_order_it_comes_in() {
    let test = "the_latest_state_stays_whatever_order_it_comes_in";
    let Some(redis) = redis(test) else {
        return;
    };
    let mut states = Vec::new();
    for epoch in [1_795_521_600_000, 1_795_521_600_001] {
        for revision in [9, 10, 11, 9_007_199_254_740_990] {
            for period in ["", "2026-09-30", "2026-10-01"] {
                let value = i64::MIN + i64::try_from(states.len()).unwrap();
                states.push(State {
                    epoch,
                    revision,
                    period,
                    value,
                });
            }
        }
    }
    let mut dice = Dice::new(seed(test));
    for _ in 0..30 {
        redis.say::<()>("FLUSHALL");
        claim(&redis, "one", 1);
        let mut latest = 0;
        for number in 0..20 {
            let chosen = usize::try_from(dice.below(states.len() as u64)).unwrap();
            // The states are in their order.
            latest = latest.max(chosen);
            let (verdict, _, _, _) = write(&redis, "one", number, &states[chosen]);
            assert_eq!(verdict, "ok");
            let state = &states[latest];
            assert_eq!(redis.say::<i64>("GET counter:c"), state.value);
            assert_eq!(
                redis.say::<(u64, u64, String)>("HMGET counter:c:meta epoch revision period"),
                (state.epoch, state.revision, state.period.to_owned())
            );
        }
    }
}

#[test]
fn a_call_out_of_its_place_writes_nothing() {
    let Some(redis) = redis("a_call_out_of_its_place_writes_nothing") else {
        return;
    };
    let state = |revision, value| State {
        epoch: 5,
        revision,
        period: "",
        value,
    };
    let zero = || "0".to_owned();
    let lost = |id: &str| ("lost".to_owned(), id.to_owned(), zero(), zero());
    assert_eq!(write(&redis, "one", 0, &state(1, 1)), lost(""));
    claim(&redis, "one", 5);
    assert_eq!(write(&redis, "one", 1, &state(1, 1)), lost("one"));
    assert_eq!(write(&redis, "one", 0, &state(1, 1)).0, "ok");
    assert_eq!(write(&redis, "one", 0, &state(2, 2)), lost("one"), "twice");
    claim(&redis, "two", 5);
    assert_eq!(write(&redis, "one", 1, &state(3, 3)), lost("two"), "late");
    assert_eq!(redis.say::<i64>("GET counter:c"), 1);
}

#[test]
fn a_marker_that_changed_since_it_was_seen_is_not_claimed() {
    let Some(redis) = redis("a_marker_that_changed_since_it_was_seen_is_not_claimed") else {
        return;
    };
    let seen = marker(&redis);
    assert_eq!(seen, [None, None]);
    assert!(claim_seen(&redis, seen.clone(), "one", 5));
    let of_one: Vec<String> = redis.say("HGETALL counterd:mirror");
    assert!(!claim_seen(&redis, seen, "two", 4), "another was faster");
    assert_eq!(redis.say::<Vec<String>>("HGETALL counterd:mirror"), of_one);
    let seen = marker(&redis);
    assert!(claim_seen(&redis, seen.clone(), "two", 6));
    assert!(!claim_seen(&redis, seen, "three", 5), "of a later epoch");
}
