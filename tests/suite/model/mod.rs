//! The model and the real writer, driven by the same random requests, restarts and clocks: the same
//! answers, the same readings, the same records in the store.
//!
//! Kept out: HTTP, and what a crash or a failing disk does. `COUNTERD_SEED` replays a run.

mod naive;
mod pair;
mod record;
mod stored;

use std::cell::Cell;
use std::fmt::Debug;
use std::time::Duration;

use counterd::storage::LogAddress;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use crate::harness::{Dice, Engine, rounds, seed};

/// One step of a run, small so that a failing run can be made small.
#[derive(Clone, Debug)]
enum Op {
    /// Requests that reach the writer together.
    Burst(Vec<Ask>),
    /// An earlier request that had a key, once more.
    Again(usize),
    /// Time passes.
    Advance(i64),
    /// Somebody sets the clock.
    Shift(i64),
    /// The operator accepts the clock.
    Accept,
    /// Stop and start, with one of the configurations; the machine may have been off for a while.
    Restart {
        configuration: usize,
        away: Option<i64>,
    },
}

#[derive(Clone, Debug)]
struct Ask {
    what: What,
    key: Option<u8>,
}

#[derive(Clone, Debug)]
enum What {
    Move(Move),
    Batch(Vec<Move>),
    Each(Vec<Move>),
    Reset(usize),
    Adjust {
        counter: usize,
        to: bool,
        by: i64,
    },
    Define {
        counter: usize,
        kind: u8,
        daily: bool,
        bounds: usize,
        clamp: bool,
        lasts: Option<i64>,
    },
    Delete(usize),
}

#[derive(Clone, Debug)]
struct Move {
    counter: usize,
    down: bool,
    amount: i64,
    user: Option<u8>,
}

const SECOND: i64 = 1000;
const HOUR: i64 = naive::HOUR;

fn pick<T: Clone + Debug + 'static>(from: &[T]) -> impl Strategy<Value = T> + use<T> {
    proptest::sample::select(from.to_vec())
}

fn a_counter() -> impl Strategy<Value = usize> {
    0..pair::NAMES.len()
}

fn a_move() -> impl Strategy<Value = Move> {
    let amount = pick(&[1, 1, 1, 1, 1, 2, 3, 5, 100, (1 << 53) - 1, i64::MAX]);
    (
        a_counter(),
        prop::bool::weighted(0.3),
        amount,
        prop::option::weighted(0.8, 0..5_u8),
    )
        .prop_map(|(counter, down, amount, user)| Move {
            counter,
            down,
            amount,
            user,
        })
}

fn an_ask() -> impl Strategy<Value = Ask> {
    let adjust = (
        a_counter(),
        any::<bool>(),
        pick(&[0, 3, -1, -7, 50, 1, i64::MIN, i64::MAX]),
    );
    let lasts = pick(&[
        SECOND / 2,
        2 * SECOND,
        5 * HOUR,
        30 * HOUR,
        200 * HOUR,
        -SECOND,
    ]);
    let define = (
        (a_counter(), 0..3_u8, any::<bool>(), 0..pair::BOUNDS.len()),
        (any::<bool>(), prop::option::weighted(0.4, lasts)),
    );
    let what = prop_oneof![
        12 => a_move().prop_map(What::Move),
        4 => prop::collection::vec(a_move(), 1..6).prop_map(What::Batch),
        3 => prop::collection::vec(a_move(), 1..6).prop_map(What::Each),
        1 => a_counter().prop_map(What::Reset),
        1 => adjust.prop_map(|(counter, to, by)| What::Adjust { counter, to, by }),
        3 => define.prop_map(|((counter, kind, daily, bounds), (clamp, lasts))| {
            What::Define { counter, kind, daily, bounds, clamp, lasts }
        }),
        1 => a_counter().prop_map(What::Delete),
    ];
    (what, prop::option::weighted(0.3, 0..20_u8)).prop_map(|(what, key)| Ask { what, key })
}

fn an_op() -> impl Strategy<Value = Op> {
    let passing = [
        1,
        400,
        999,
        SECOND,
        7 * SECOND,
        HOUR,
        3 * HOUR,
        11 * HOUR,
        25 * HOUR,
        47 * HOUR,
    ];
    let shifts = [
        -61,
        61,
        67 * 60,
        -67 * 60,
        26 * 3600,
        -26 * 3600,
        61 * 3600,
        -61 * 3600,
        5000 * 3600,
    ];
    let away = prop::option::weighted(
        0.5,
        pick(&[0, HOUR, 72 * HOUR, 2400 * HOUR, -HOUR, -61 * HOUR]),
    );
    prop_oneof![
        14 => prop::collection::vec(an_ask(), 1..7).prop_map(Op::Burst),
        2 => (0..40_usize).prop_map(Op::Again),
        4 => pick(&passing).prop_map(Op::Advance),
        1 => pick(&shifts).prop_map(|seconds| Op::Shift(seconds * SECOND)),
        1 => Just(Op::Accept),
        1 => (0..pair::CONFIGURATIONS, away)
            .prop_map(|(configuration, away)| Op::Restart { configuration, away }),
    ]
}

/// What the promise is: every answer, every reading and every record is what the model has, over
/// kinds, bounds, clamps, batches, duplicates, keys, resets, adjustments, deletions, expiry, changed
/// definitions, midnights, clock steps and restarts.
#[test]
fn any_sequence_of_requests_restarts_and_clocks_is_as_the_model_says() {
    let mut dice = Dice::new(seed("model"));
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&dice.next().to_le_bytes());
    }
    let engine = Engine::of_module(module_path!());
    // A group in Redis takes longer than one on disk.
    let ordinary = match engine {
        Engine::RocksDb => 30,
        Engine::SharedLog(_) => 10,
    };
    let config = Config {
        cases: rounds(ordinary),
        max_shrink_iters: 300,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let runs = prop::collection::vec(an_op(), 1..120);
    let number = Cell::new(0);
    let outcome = runner.run(&runs, |ops| {
        number.set(number.get() + 1);
        let log = engine.shared_log().map(|log| LogAddress {
            prefix: format!("run-{}:", number.get()),
            // The clock is one of the test alone.
            max_clock_skew: Duration::MAX,
            max_lag: Duration::MAX,
            ..log
        });
        pair::run(log, &ops).map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, ops)) => {
            let steps: Vec<String> = ops.iter().map(|op| format!("{op:?}")).collect();
            panic!("after\n{}\n{reason}", steps.join("\n"));
        }
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}
