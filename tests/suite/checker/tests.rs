//! Wrong histories, each rejected for what is wrong with it, and right ones that are not.

mod streams;

use super::*;

const DAY: &str = "2026-11-24";

fn step(counter: &str, delta: i64) -> Step {
    Step {
        counter: counter.to_owned(),
        delta,
        user: None,
    }
}

fn user(name: &str) -> Step {
    Step {
        counter: "users".to_owned(),
        delta: 1,
        user: Some(name.to_owned()),
    }
}

fn done(current_value: i64, revision: u64) -> Done {
    Done {
        current_value,
        counted: true,
        revision,
        period: None,
    }
}

fn again(current_value: i64, revision: u64) -> Done {
    Done {
        counted: false,
        ..done(current_value, revision)
    }
}

/// An intent with one try, from `at` to `at + 5`.
fn intent(at: Moment, steps: Vec<Step>, answer: Answer) -> Intent {
    let tries = vec![Try {
        begun: at,
        ended: at + 5,
        answer,
    }];
    Intent {
        steps,
        key: None,
        tries,
    }
}

fn counted(at: Moment, counter: &str, delta: i64, value: i64, revision: u64) -> Intent {
    intent(
        at,
        vec![step(counter, delta)],
        Answer::Counted(vec![done(value, revision)]),
    )
}

fn keyed(mut first: Intent, then: Vec<Answer>) -> Intent {
    first.key = Some("k".to_owned());
    for answer in then {
        let begun = first.tries.last().unwrap().ended + 1;
        first.tries.push(Try {
            begun,
            ended: begun + 5,
            answer,
        });
    }
    first
}

fn reading(at: Moment, value: i64, revision: u64) -> Reading {
    Reading {
        counter: "a".to_owned(),
        begun: at,
        ended: at + 1,
        value,
        revision,
        period: None,
    }
}

fn check(intents: Vec<Intent>, readings: Vec<Reading>, finals: &[(&str, i64)]) -> Vec<Violation> {
    let finals = finals
        .iter()
        .map(|(name, value)| (((*name).to_owned(), None), *value))
        .collect();
    let history = History {
        intents,
        readings,
        streams: Vec::new(),
    };
    history.check(&finals)
}

#[track_caller]
fn rejected(found: Vec<Violation>, expected: impl Fn(&Violation) -> bool) {
    assert!(found.iter().any(expected), "not seen: {found:?}");
}

#[test]
fn a_right_history_is_accepted() {
    let found = check(
        vec![
            counted(0, "a", 2, 2, 1),
            counted(0, "a", 3, 5, 2),
            counted(10, "a", -1, 4, 4),
            intent(
                0,
                vec![step("a", 1)],
                Answer::Refused("read_only".to_owned()),
            ),
            intent(0, vec![step("a", 7), step("b", 7)], Answer::Unknown),
            keyed(
                intent(20, vec![step("a", 1)], Answer::Unknown),
                vec![Answer::Unknown, Answer::Counted(vec![done(12, 8)])],
            ),
            intent(0, vec![user("x")], Answer::Counted(vec![done(1, 3)])),
            intent(0, vec![user("x")], Answer::Counted(vec![again(1, 3)])),
            intent(0, vec![user("y")], Answer::Unknown),
        ],
        vec![reading(0, 0, 0), reading(6, 5, 2), reading(40, 12, 8)],
        &[("a", 12), ("b", 7), ("users", 2)],
    );
    assert_eq!(found, []);
}

#[test]
fn what_is_unknown_may_be_counted_or_not() {
    let unknown = || {
        vec![
            counted(0, "a", 1, 1, 1),
            intent(0, vec![step("a", 5)], Answer::Unknown),
        ]
    };
    assert_eq!(check(unknown(), vec![], &[("a", 1)]), []);
    assert_eq!(check(unknown(), vec![], &[("a", 6)]), []);
    for value in [0, 5, 7, 11] {
        rejected(check(unknown(), vec![], &[("a", value)]), |v| {
            matches!(v, Violation::Final { .. })
        });
    }
}

#[test]
fn an_acknowledged_step_that_is_lost_is_seen() {
    let found = check(
        vec![counted(0, "a", 1, 1, 1), counted(9, "a", 1, 2, 2)],
        vec![],
        &[("a", 1)],
    );
    rejected(found, |v| {
        matches!(
            v,
            Violation::Final {
                acknowledged: 2,
                found: 1,
                ..
            }
        )
    });
}

#[test]
fn a_refused_step_that_counted_is_seen() {
    let refused = intent(
        0,
        vec![step("a", 1)],
        Answer::Refused("overloaded".to_owned()),
    );
    rejected(check(vec![refused], vec![], &[("a", 1)]), |v| {
        matches!(v, Violation::Final { .. })
    });
}

#[test]
fn a_retry_by_key_that_counted_twice_is_seen() {
    let twice = keyed(
        intent(0, vec![step("a", 1)], Answer::Unknown),
        vec![Answer::Counted(vec![done(2, 2)])],
    );
    let found = check(vec![twice], vec![], &[("a", 2)]);
    rejected(found.clone(), |v| {
        matches!(
            v,
            Violation::Chain {
                expected: 1,
                found: 2,
                ..
            }
        )
    });
    rejected(found, |v| matches!(v, Violation::Final { .. }));
}

#[test]
fn answers_under_one_key_that_differ_are_seen() {
    let twice = keyed(
        counted(0, "a", 1, 1, 1),
        vec![Answer::Counted(vec![done(2, 2)])],
    );
    rejected(check(vec![twice], vec![], &[("a", 1)]), |v| {
        matches!(v, Violation::AnswersDiffer { .. })
    });
}

#[test]
fn a_blind_retry_is_a_mistake_of_the_test() {
    let mut blind = keyed(
        intent(0, vec![step("a", 1)], Answer::Unknown),
        vec![Answer::Unknown],
    );
    blind.key = None;
    assert_eq!(
        check(vec![blind], vec![], &[("a", 0)]),
        [Violation::BlindRetry]
    );
}

#[test]
fn two_increments_with_one_value_are_seen() {
    let found = check(
        vec![counted(0, "a", 1, 1, 1), counted(0, "a", 1, 1, 2)],
        vec![],
        &[("a", 2)],
    );
    rejected(found, |v| {
        matches!(
            v,
            Violation::Chain {
                revision: 2,
                expected: 2,
                found: 1,
                ..
            }
        )
    });
}

#[test]
fn a_value_that_skips_is_seen() {
    let found = check(
        vec![counted(0, "a", 1, 1, 1), counted(0, "a", 1, 3, 2)],
        vec![],
        &[("a", 2)],
    );
    rejected(found, |v| matches!(v, Violation::Chain { .. }));
    // A step of unknown outcome explains one gap, not two.
    let found = check(
        vec![
            intent(0, vec![step("a", 1)], Answer::Unknown),
            counted(0, "a", 1, 2, 2),
            counted(0, "a", 1, 4, 4),
        ],
        vec![],
        &[("a", 3)],
    );
    rejected(found, |v| matches!(v, Violation::Chain { revision: 4, .. }));
}

#[test]
fn one_revision_for_two_changes_is_seen() {
    let found = check(
        vec![counted(0, "a", 1, 1, 1), counted(0, "b", 1, 1, 1)],
        vec![],
        &[("a", 1), ("b", 1)],
    );
    assert_eq!(found, [Violation::RevisionTwice(1)]);
}

#[test]
fn a_later_request_with_an_earlier_revision_is_seen() {
    let found = check(
        vec![counted(0, "a", 1, 2, 2), counted(10, "a", 1, 1, 1)],
        vec![],
        &[("a", 2)],
    );
    rejected(found, |v| matches!(v, Violation::Order { revision: 2, .. }));
}

#[test]
fn a_user_counted_twice_is_seen() {
    let found = check(
        vec![
            intent(0, vec![user("x")], Answer::Counted(vec![done(1, 1)])),
            intent(9, vec![user("x")], Answer::Counted(vec![done(2, 2)])),
        ],
        vec![],
        &[("users", 2)],
    );
    rejected(found.clone(), |v| matches!(v, Violation::UserTwice { .. }));
    rejected(found, |v| {
        matches!(
            v,
            Violation::Final {
                acknowledged: 1,
                ..
            }
        )
    });
}

#[test]
fn a_user_who_counts_in_each_period_is_fine() {
    let on = |day: &str, done: Done| Done {
        period: Some(day.to_owned()),
        ..done
    };
    let history = History {
        intents: vec![
            intent(
                0,
                vec![user("x")],
                Answer::Counted(vec![on(DAY, done(1, 1))]),
            ),
            intent(
                9,
                vec![user("x")],
                Answer::Counted(vec![on("2026-11-25", done(1, 2))]),
            ),
        ],
        readings: vec![],
        streams: vec![],
    };
    let account = |day: &str| ("users".to_owned(), Some(day.to_owned()));
    let finals = BTreeMap::from([(account(DAY), 1), (account("2026-11-25"), 1)]);
    assert_eq!(history.check(&finals), []);
    let finals = BTreeMap::from([(account(DAY), 2), (account("2026-11-25"), 1)]);
    rejected(history.check(&finals), |v| {
        matches!(v, Violation::Final { .. })
    });
    let finals = BTreeMap::from([(account(DAY), 1)]);
    rejected(history.check(&finals), |v| {
        matches!(v, Violation::Missing(_))
    });
}

#[test]
fn a_duplicate_that_nobody_counted_is_seen() {
    let lone = intent(0, vec![user("x")], Answer::Counted(vec![again(0, 0)]));
    rejected(check(vec![lone], vec![], &[("users", 0)]), |v| {
        matches!(v, Violation::NeverCounted { .. })
    });
    // Counted only after the duplicate was answered.
    let found = check(
        vec![
            intent(0, vec![user("x")], Answer::Counted(vec![again(0, 0)])),
            intent(50, vec![user("x")], Answer::Counted(vec![done(1, 1)])),
        ],
        vec![],
        &[("users", 1)],
    );
    rejected(found, |v| matches!(v, Violation::NeverCounted { .. }));
}

#[test]
fn a_user_lost_in_a_crash_is_seen() {
    let found = check(
        vec![
            intent(0, vec![user("x")], Answer::Counted(vec![done(1, 1)])),
            intent(0, vec![user("y")], Answer::Unknown),
        ],
        vec![],
        &[("users", 0)],
    );
    rejected(found, |v| matches!(v, Violation::Final { .. }));
}

#[test]
fn a_batch_that_counted_in_part_is_seen() {
    let parts = vec![done(1, 1), done(1, 2)];
    let batch = intent(0, vec![step("a", 1), step("b", 1)], Answer::Counted(parts));
    rejected(
        check(vec![batch.clone()], vec![], &[("a", 1), ("b", 0)]),
        |v| matches!(v, Violation::Final { .. }),
    );
    let cut = intent(0, batch.steps, Answer::Counted(vec![done(1, 1)]));
    assert_eq!(
        check(vec![cut], vec![], &[("a", 1), ("b", 0)]),
        [Violation::WrongParts]
    );
}

#[test]
fn a_stale_read_is_seen() {
    let found = check(
        vec![counted(0, "a", 1, 1, 3)],
        vec![reading(10, 0, 2)],
        &[("a", 1)],
    );
    rejected(found, |v| {
        matches!(
            v,
            Violation::StaleRead {
                read: 2,
                before: 3,
                ..
            }
        )
    });
    // Also after another read, as when a value is shown before it is durable and then lost.
    let unknown = || vec![intent(0, vec![step("a", 1)], Answer::Unknown)];
    let found = check(
        unknown(),
        vec![reading(2, 1, 1), reading(10, 0, 0)],
        &[("a", 0)],
    );
    rejected(found, |v| {
        matches!(
            v,
            Violation::StaleRead {
                read: 0,
                before: 1,
                ..
            }
        )
    });
    assert_eq!(
        check(
            unknown(),
            vec![reading(2, 1, 1), reading(2, 0, 0)],
            &[("a", 1)]
        ),
        []
    );
}

#[test]
fn a_read_that_no_change_left_is_seen() {
    let found = check(
        vec![counted(0, "a", 1, 1, 1)],
        vec![reading(10, 2, 1)],
        &[("a", 1)],
    );
    rejected(found, |v| {
        matches!(
            v,
            Violation::WrongRead {
                read: 2,
                answered: 1,
                ..
            }
        )
    });
}
