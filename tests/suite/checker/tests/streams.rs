//! Wrong streams, each rejected for what is wrong with it.

use super::super::streams::{Complete, Quiet, Stream, Word};
use super::*;

/// A word of counter `a` that was there at `at`, on a connection asked for at 1.
fn word(at: Moment, value: i64, revision: u64) -> Word {
    Word {
        reading: Reading {
            begun: 1,
            ended: at,
            ..reading(at, value, revision)
        },
        epoch: 1,
        stale: false,
    }
}

fn stream(words: Vec<Word>) -> Stream {
    Stream {
        words,
        ..Stream::default()
    }
}

/// Two changes of `a`, and one of unknown outcome.
fn check(readings: Vec<Reading>, streams: Vec<Stream>, value: i64) -> Vec<Violation> {
    let history = History {
        intents: vec![
            counted(2, "a", 1, 1, 3),
            counted(10, "a", 1, 2, 5),
            intent(20, vec![step("a", 4)], Answer::Unknown),
        ],
        readings,
        streams,
    };
    history.check(&BTreeMap::from([(("a".to_owned(), None), value)]))
}

/// Quiet after the first `words`, and until the end, with this value of `a`.
fn quiet(mut stream: Stream, words: usize, value: i64, revision: u64) -> Stream {
    stream.quiet.push(Quiet {
        words: words..stream.words.len(),
        read: vec![reading(90, value, revision)],
    });
    stream
}

#[test]
fn a_right_stream_is_accepted() {
    // Late, and not each value; a copy says an older one; who comes back hears what is known once more.
    let mut copied = word(70, 1, 3);
    (copied.stale, copied.reading.begun) = (true, 0);
    let mut told = stream(vec![
        word(9, 0, 0),
        word(40, 2, 5),
        word(50, 2, 5),
        copied,
        word(80, 6, 7),
    ]);
    told.complete.push(Complete {
        words: 3,
        revision: 6,
    });
    let told = quiet(told, 5, 6, 7);
    assert_eq!(check(vec![], vec![told.clone(), told], 6), []);
}

#[test]
fn a_stream_that_goes_back_is_seen() {
    let told = stream(vec![word(12, 2, 5), word(13, 1, 3)]);
    rejected(check(vec![], vec![told.clone()], 2), |v| {
        matches!(
            v,
            Violation::WentBack {
                revision: 3,
                before: 5,
                ..
            }
        )
    });
    // A restored store begins again, in another epoch.
    let mut restored = told;
    restored.words[1].epoch = 2;
    assert_eq!(check(vec![], vec![restored], 2), []);
}

#[test]
fn one_revision_with_two_values_is_seen() {
    let differs = |found| {
        rejected(found, |v| {
            matches!(
                v,
                Violation::TwoValues {
                    revision: 5 | 7,
                    ..
                }
            )
        });
    };
    // From what was answered, from what was read, and from what another stream said.
    differs(check(vec![], vec![stream(vec![word(12, 3, 5)])], 2));
    let seven = |value| stream(vec![word(30, value, 7)]);
    differs(check(vec![reading(30, 6, 7)], vec![seven(5)], 6));
    differs(check(vec![], vec![seven(5), seven(6)], 6));
}

#[test]
fn a_revision_that_a_stream_says_of_another_counter_is_seen() {
    let mut told = stream(vec![word(12, 2, 5)]);
    told.words[0].reading.counter = "b".to_owned();
    rejected(check(vec![], vec![told], 2), |v| {
        matches!(v, Violation::RevisionTwice(5))
    });
}

#[test]
fn what_was_said_and_is_denied_later_is_seen() {
    // Said before it was durable, and gone with a power cut.
    let told = stream(vec![word(25, 6, 7)]);
    let denied = |found| {
        rejected(found, |v| {
            matches!(
                v,
                Violation::StaleRead {
                    read: 5,
                    before: 7,
                    ..
                }
            )
        });
    };
    denied(check(vec![reading(40, 2, 5)], vec![told.clone()], 2));
    // By another stream, whose connection was asked for later.
    let mut later = stream(vec![word(40, 2, 5)]);
    later.words[0].reading.begun = 30;
    denied(check(vec![], vec![told, later], 2));
}

#[test]
fn who_came_back_and_was_not_told_what_was_answered_before_is_seen() {
    let mut told = stream(vec![word(9, 1, 3), word(40, 1, 3)]);
    told.words[1].reading.begun = 30;
    rejected(check(vec![], vec![told], 2), |v| {
        matches!(
            v,
            Violation::StaleRead {
                read: 3,
                before: 5,
                ..
            }
        )
    });
}

#[test]
fn a_change_below_what_a_client_is_said_to_have_is_seen() {
    let skipped = |words, revision| {
        let mut told = stream(words);
        told.complete.push(Complete {
            words: told.words.len(),
            revision,
        });
        told.words.push(word(40, 2, 5));
        check(vec![], vec![told], 2)
    };
    assert_eq!(skipped(vec![word(12, 1, 3)], 4), []);
    for (words, had) in [(vec![], 0), (vec![word(12, 1, 3)], 3)] {
        rejected(
            skipped(words, 5),
            |v| matches!(v, Violation::Skipped { revision: 5, had: of, .. } if *of == had),
        );
    }
}

#[test]
fn a_last_word_that_is_not_what_is_read_is_seen() {
    let wrong = |found| rejected(found, |v| matches!(v, Violation::LastWord { .. }));
    let told = || stream(vec![word(9, 1, 3), word(12, 2, 5)]);
    assert_eq!(check(vec![], vec![quiet(told(), 2, 2, 5)], 2), []);
    // Never told, an older one, one of an older period, and a newer one after the quiet began.
    wrong(check(vec![], vec![quiet(stream(vec![]), 0, 2, 5)], 2));
    wrong(check(vec![], vec![quiet(told(), 1, 2, 5)], 2));
    wrong(check(vec![], vec![quiet(told(), 2, 6, 7)], 6));
    let mut of_yesterday = told();
    of_yesterday.words[1].reading.period = Some(DAY.to_owned());
    wrong(check(vec![], vec![quiet(of_yesterday, 2, 2, 5)], 2));
    let mut more = told();
    more.words.push(word(95, 6, 7));
    wrong(check(vec![], vec![quiet(more, 2, 2, 5)], 6));
}
