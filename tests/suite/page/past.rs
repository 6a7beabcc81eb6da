//! A store with a past: today until now, yesterday, and the same day of last week, each a curve that is known at each
//! local minute. Made by a writer on a clock of its own, so that no time has to pass.

use std::path::Path;
use std::sync::Arc;

use counterd::calendar::Calendar;
use counterd::clock::ManualClock;
use counterd::counter::{
    Action, CounterName, Definition, Kind, Operation, RequestId, Reset, UserId,
};
use counterd::lifecycle::{Archivist, Retention};
use counterd::metrics::Metrics;
use counterd::writer::{Command, PreparedBatch, Request, Running, WriterOptions};

use crate::midnight::storage;

pub const MINUTE: i64 = 60_000;
pub const STEP: i64 = 5 * MINUTE;
pub const DAY: i64 = 24 * 60 * MINUTE;

/// How full the game was on each of the days: days before today, thousandths of today.
const DAYS: [(i64, i64); 3] = [(7, 880), (1, 940), (0, 1000)];

/// How many play at a minute of the local day, on a day that was so full (in thousandths): a low before dawn, a rise
/// over noon, a high in the evening.
pub fn players(minute: i64, full: i64) -> i64 {
    let bell = |middle: i64, width: f64| {
        let away = (minute - middle + 720).rem_euclid(1440) - 720;
        (-(away as f64 / width).powi(2)).exp()
    };
    let share = 0.22 + 0.30 * bell(765, 150.0) + 0.62 * bell(1265, 170.0);
    (12_400.0 * share) as i64 * full / 1000
}

/// The days as they were lived.
pub struct Past {
    running: Running,
    clock: Arc<ManualClock>,
    calendar: Calendar,
    wall: i64,
    online: i64,
}

fn name(text: &str) -> CounterName {
    CounterName::parse(text).unwrap()
}

impl Past {
    /// Lives the days up to `now` in a new store in `dir`; from `away` to its end, today, nobody is there.
    pub fn live(dir: &Path, calendar: &Calendar, now: i64, away: Option<(i64, i64)>) {
        let start = |back: i64| {
            let today = calendar.day_of(now);
            let day = counterd::calendar::Day::from_days(today.days() - back as i32).unwrap();
            (calendar.start_of(day), calendar.end_of(day).min(now))
        };
        let wall = start(7).0;
        let clock = Arc::new(ManualClock::new(wall));
        let define = |kind, reset| Definition {
            kind,
            reset,
            ..Definition::default()
        };
        let options = WriterOptions {
            configured: vec![
                (
                    name("daily_active_users"),
                    define(Kind::Unique, Reset::Daily),
                ),
                (name("online_players"), define(Kind::Gauge, Reset::Never)),
                (name("total_games_played"), define(Kind::Sum, Reset::Daily)),
            ],
            recent_users: 1000,
            min_free: Some(1 << 20),
            ..WriterOptions::new(storage(dir), clock.clone(), calendar.clone())
        };
        let running = Running::start(options).unwrap();
        let mut past = Self {
            running,
            clock,
            calendar: calendar.clone(),
            wall,
            online: 0,
        };
        for (back, full) in DAYS {
            let (from, to) = start(back);
            past.pass_to(from);
            for at in (from..to).step_by(usize::try_from(STEP).unwrap()) {
                if back == 0 && away.is_some_and(|(from, to)| (from..to).contains(&at)) {
                    continue;
                }
                past.pass_to(at);
                past.play(back, full);
                // Around this minute of the day each minute is known.
                let away = (minute_of(calendar, at) - minute_of(calendar, now)).rem_euclid(1440);
                if back > 0 && !(15..1425).contains(&away) {
                    (1..5).for_each(|after| past.pass_to(at + after * MINUTE));
                }
            }
        }
        past.pass_to(now);
        let metrics = Arc::new(Metrics::new());
        let mut archivist = Archivist::new(&past.running, Retention::default(), &metrics);
        archivist.catch_up().unwrap();
        past.running.stop();
    }

    fn ask(&self, command: Command) {
        let request = Request {
            command,
            key: None,
            request_id: RequestId::Made(1),
        };
        self.running.intake.call(request).unwrap();
    }

    /// Time passes, a day at a time, and the writer looks at it.
    fn pass_to(&mut self, at: i64) {
        while self.wall < at {
            let ms = (at - self.wall).min(DAY);
            self.clock.advance(ms);
            self.wall += ms;
            let looked = self.running.intake.carry_out(PreparedBatch::default());
            looked.unwrap();
        }
    }

    /// Five minutes of play begin.
    fn play(&mut self, back: i64, full: i64) {
        let minute = minute_of(&self.calendar, self.wall);
        let wanted = players(minute, full);
        let (action, amount) = match wanted - self.online {
            0 => (Action::Increment, 0),
            change if change > 0 => (Action::Increment, change),
            change => (Action::Decrement, -change),
        };
        let step = |counter: &str, action, amount, user: Option<String>| Operation {
            counter: name(counter),
            action,
            amount,
            user_id: user.map(|user| UserId::parse(&user).unwrap()),
            session: None,
        };
        let mut all = vec![step(
            "total_games_played",
            Action::Increment,
            wanted / 20 + 1,
            None,
        )];
        if amount > 0 {
            all.push(step("online_players", action, amount, None));
        }
        self.online = wanted;
        let users = (0..wanted / 400 + 1).map(|user| format!("{back} {} {user}", self.wall));
        all.extend(users.map(|user| step("daily_active_users", Action::Increment, 1, Some(user))));
        self.ask(Command::Batch(all.into()));
    }
}

/// The minute of the day that local clocks show.
pub fn minute_of(calendar: &Calendar, at: i64) -> i64 {
    let text = calendar.local_text(at);
    let part = |from: usize| text[from..from + 2].parse::<i64>().unwrap();
    part(11) * 60 + part(14)
}
