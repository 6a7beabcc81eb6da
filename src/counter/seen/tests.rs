use proptest::prelude::*;

use super::*;
use crate::calendar::DayStart;

const HOUR: Millis = 3_600_000;

/// A step of a counter's life. The clock moves by hours, also back.
#[derive(Clone, Copy, Debug)]
enum Step {
    Clock(i64),
    Count(i64),
}

/// The naive counter: everything that was ever counted, each with its day.
#[derive(Default)]
struct Model {
    counted: Vec<(Day, i64)>,
    created: (Millis, Option<Day>),
    latest: Millis,
    now: Millis,
    today: Option<Day>,
}

impl Model {
    /// What was counted in that day, or ever.
    fn sum(&self, reset: Reset, day: Day) -> i64 {
        let of = |(counted, _): &&(Day, i64)| reset == Reset::Never || *counted == day;
        self.counted
            .iter()
            .filter(of)
            .map(|(_, amount)| amount)
            .sum()
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (-30i64..60).prop_map(Step::Clock),
        (1i64..9).prop_map(Step::Count),
    ];
    proptest::collection::vec(step, 0..24)
}

fn calendar() -> Calendar {
    Calendar::new("Europe/Berlin", DayStart::default()).unwrap()
}

/// The last weekend of March 2026: the night has 23 hours.
const BEGIN: Millis = 1_774_558_800_000;

fn stored(reset: Reset, expires_at: Option<Millis>, model: &Model) -> Stored<'static> {
    let last = model.counted.last().map(|(day, _)| *day);
    let period = reset.period_on(last.or(model.created.1).unwrap());
    Stored {
        existence: Existence::Live,
        reset,
        value: model.sum(reset, period.unwrap_or(Day::MIN)),
        leaving: None,
        period,
        revision: 7,
        epoch: 3,
        changed_at: model.latest,
        expires_at,
    }
}

/// What a counter has to say, worked out from everything that was ever counted.
fn expected(
    calendar: &Calendar,
    reset: Reset,
    expires_at: Option<Millis>,
    model: &Model,
    moment: &Moment,
) -> (i64, Option<Day>, Millis, Option<Gone>) {
    if let (Some(at), Some(now)) = (expires_at, moment.now)
        && at <= now
    {
        let last = model
            .counted
            .last()
            .map_or(model.created.1, |(day, _)| Some(*day));
        let day = calendar.day_of(at).max(last.unwrap());
        let final_value = model.sum(reset, day);
        let gone = Gone {
            expired: true,
            final_value,
            at,
        };
        let period = (reset == Reset::Daily).then_some(day);
        return (final_value, period, at, Some(gone));
    }
    let day = moment.today.day;
    let (period, start) = match reset {
        Reset::Never => (None, Millis::MIN),
        Reset::Daily => (Some(day), calendar.start_of(day)),
    };
    (model.sum(reset, day), period, model.latest.max(start), None)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_counter_says_what_was_counted_and_until_when(
        daily in any::<bool>(),
        expires in proptest::option::of(1i64..120),
        trusted in any::<bool>(),
        steps in steps(),
    ) {
        let calendar = calendar();
        let reset = if daily { Reset::Daily } else { Reset::Never };
        let expires_at = expires.map(|hours| BEGIN + hours * HOUR);
        let mut model = Model { now: BEGIN, latest: BEGIN, ..Model::default() };
        model.today = Some(calendar.day_of(BEGIN));
        model.created = (BEGIN, model.today);
        let mut over = false;
        for step in steps {
            match step {
                Step::Clock(hours) => model.now += hours * HOUR,
                Step::Count(amount) => {
                    // Who is over counts no more, whatever the clock says later.
                    over |= expires_at.is_some_and(|at| at <= model.now);
                    if over {
                        break;
                    }
                    model.counted.push((model.today.unwrap(), amount));
                    model.latest = model.latest.max(model.now);
                }
            }
            model.today = model.today.max(Some(calendar.day_of(model.now)));
        }
        let stored = stored(reset, expires_at, &model);
        let mut today = model.today.unwrap();
        let mut until: Option<Option<Millis>> = None;
        let mut before = None;
        // Time alone goes on, by half hours over four days.
        for half in 0..192 {
            let now = model.now + half * HOUR / 2;
            if trusted {
                today = today.max(calendar.day_of(now));
            }
            let moment = Moment { today: calendar.local_day(today), now: trusted.then_some(now), latest: now, store_ms: 0 };
            let seen = stored.seen(&moment, &calendar).unwrap();
            let says = (seen.value, seen.period, seen.last_updated, seen.over);
            prop_assert_eq!(says, expected(&calendar, reset, expires_at, &model, &moment));
            prop_assert_eq!((seen.revision, seen.epoch), (7, 3));
            if let (Some(before), Some(until)) = (before, until) {
                // It changes at that instant, and not before.
                let holds = until.is_none_or(|until| now < until);
                prop_assert_eq!(before == says, holds, "at {} until {:?}", now, until);
            }
            (before, until) = (Some(says), Some(stored.until(&moment)));
        }
    }
}

#[test]
fn what_is_recorded_stays_and_what_cannot_be_read_says_nothing() {
    let calendar = calendar();
    let day = calendar.day_of(BEGIN);
    let moment = Moment {
        today: calendar.local_day(day),
        now: Some(BEGIN),
        latest: BEGIN,
        store_ms: 0,
    };
    let gone = Gone {
        expired: false,
        final_value: 5,
        at: BEGIN - HOUR,
    };
    let stored = Stored {
        existence: Existence::Gone(gone),
        reset: Reset::Daily,
        value: 0,
        leaving: None,
        period: Some(day),
        revision: 1,
        epoch: 1,
        changed_at: 0,
        expires_at: Some(BEGIN - 2 * HOUR),
    };
    let seen = stored.seen(&moment, &calendar).unwrap();
    assert_eq!((seen.over, seen.value), (Some(gone), 5));
    assert_eq!((seen.last_updated, stored.until(&moment)), (gone.at, None));
    let corrupt = Stored {
        existence: Existence::Corrupt,
        ..stored
    };
    assert_eq!(corrupt.seen(&moment, &calendar), None);
}
