//! Work beside the server that is done in rounds, such as bringing a copy up to date: a thread does a round,
//! rests, and does the next one, for as long as the server runs.
//!
//! A round compares what is there with what should be there, and writes the difference. Nothing rests on a
//! round that failed or was cut off: the next one finds the same difference. What all such work has in common
//! is here: how long it waits after a failure, what the log says of it, and what `/readyz?verbose` and
//! `/metrics` say.
//!
//! Kept out: what a round does (`mirror`, `export`), and how threads start and end (`background`).

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::background::{Background, BackgroundWork, runtime};
use crate::counter::{Millis, Revision};
use crate::current_day::CurrentDay;
use crate::metrics::RoundMetrics;

/// The first wait after a failure; each further one is twice the one before.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// The longest wait after a failure.
pub const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The reason that is given before the first round.
const NOT_TRIED: &str = "not tried yet: it begins once the store is open";

/// Most reasons that the log gives for one outage.
const MOST_REASONS: usize = 16;

/// Work that is done in rounds.
pub trait RoundWork: Send + 'static {
    /// Why a round failed.
    type Error: Display;

    /// The name of the thread.
    const THREAD: &'static str;

    /// The log line for a failure.
    const HELD_UP: &'static str;

    /// The log line for the first success after failures.
    const GOES_ON: &'static str;

    /// Does one round. It may be cut off at any point; the next round does what is missing then.
    fn round(&mut self, status: &RoundStatus) -> impl Future<Output = Result<(), Self::Error>>;

    /// Returns the pause after a round that succeeded and took that long.
    fn pause(&self, took: Duration) -> Duration;

    /// Returns the longest wait after this error.
    fn longest_wait(&self, _: &Self::Error) -> Duration {
        LONGEST_WAIT
    }

    /// Returns whether the next failure is a new one, so that its wait is the shortest again. Asked after a
    /// round that succeeded.
    fn is_settled(&self) -> bool {
        true
    }

    /// Does what is due before the thread ends.
    fn finish(&mut self, status: &RoundStatus) -> impl Future<Output = ()>;
}

/// Work with its status, on a runtime of its own.
pub struct Rounds<W> {
    work: W,
    status: Arc<RoundStatus>,
    runtime: Arc<Runtime>,
}

impl<W: RoundWork> Rounds<W> {
    /// Prepares the work; nothing is done before [`Rounds::start`] or [`Rounds::catch_up`].
    ///
    /// # Errors
    /// When there are no resources for a runtime.
    pub(crate) fn of(work: W, metrics: &RoundMetrics, day: &Arc<CurrentDay>) -> io::Result<Self> {
        Ok(Self {
            work,
            status: Arc::new(RoundStatus::new(metrics.clone(), Arc::clone(day))),
            runtime: Arc::new(runtime()?),
        })
    }

    /// Returns the status, which others may read while the work goes on.
    pub fn status(&self) -> Arc<RoundStatus> {
        Arc::clone(&self.status)
    }

    /// Does rounds on a thread of its own until told to end.
    ///
    /// # Errors
    /// When there are no resources for a thread.
    pub fn start(self) -> io::Result<Background> {
        Background::start(W::THREAD, Arc::clone(&self.runtime), self)
    }

    /// Does one round on the caller's thread.
    ///
    /// # Errors
    /// When the round failed; the next one does what is missing.
    pub fn catch_up(&mut self) -> Result<(), W::Error> {
        let round = self.runtime.block_on(self.work.round(&self.status));
        match &round {
            Ok(()) => self.status.succeeded(),
            Err(error) => self.status.failed(&error.to_string()),
        };
        round
    }
}

impl<W: RoundWork> BackgroundWork for Rounds<W> {
    async fn run(&mut self, mut ended: oneshot::Receiver<()>) {
        let mut backoff = Backoff::default();
        loop {
            let begun = Instant::now();
            let round = tokio::select! {
                _ = &mut ended => break,
                round = self.work.round(&self.status) => round,
            };
            let pause = match round {
                Ok(()) => {
                    if self.status.succeeded() {
                        tracing::info!("{}", W::GOES_ON);
                    }
                    if self.work.is_settled() {
                        backoff = Backoff::default();
                    }
                    self.work.pause(begun.elapsed())
                }
                Err(error) => {
                    let text = error.to_string();
                    if self.status.failed(&text) {
                        tracing::warn!(error = text, "{}", W::HELD_UP);
                    }
                    backoff.next(self.work.longest_wait(&error))
                }
            };
            tokio::select! {
                _ = &mut ended => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.work.finish(&self.status).await;
    }

    fn is_down(&mut self, error: &str) {
        self.status.failed(error);
    }
}

/// Waits that double with each failure.
#[derive(Default)]
pub struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    /// Returns the wait after one more failure.
    pub fn next(&mut self, longest: Duration) -> Duration {
        let wait = self.last.map_or(FIRST_WAIT, |last| last.saturating_mul(2));
        *self.last.insert(wait.min(longest))
    }
}

/// How the work goes. The work writes it, others read it; reading it never waits for the work.
pub struct RoundStatus {
    state: Mutex<RoundState>,
    metrics: RoundMetrics,
    day: Arc<CurrentDay>,
}

struct RoundState {
    up: bool,
    error: Option<String>,
    /// When `up` last changed; `None` before the first round.
    since: Option<Millis>,
    /// The reasons that the log has given since the last success, without their numbers.
    told: BTreeSet<String>,
    /// Everything up to this revision is there, except what is refused.
    revision: Revision,
    /// How many values are refused, and the text that says so.
    refused: Option<(u64, String)>,
    /// When the last round began after which everything was there; before that, when this began.
    complete: Instant,
    /// Whether there was such a round.
    was_complete: bool,
}

/// The status at one moment.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct RoundReport {
    /// Whether the last round succeeded.
    pub up: bool,
    /// Why the last round failed, that there was none yet, or which values are refused.
    pub error: Option<String>,
    /// When `up` last changed; `None` before the first round.
    #[serde(with = "crate::counter::instant")]
    pub since: Option<Millis>,
    /// Changes that are not there yet. A value that is refused counts as one.
    pub revisions: u64,
    /// For how many seconds not everything has been there; 0 when everything is.
    #[serde(serialize_with = "in_tenths")]
    pub seconds: f64,
}

fn in_tenths<S: serde::Serializer>(seconds: &f64, json: S) -> Result<S::Ok, S::Error> {
    json.serialize_f64((seconds * 10.0).round() / 10.0)
}

impl RoundStatus {
    fn new(metrics: RoundMetrics, day: Arc<CurrentDay>) -> Self {
        let state = RoundState {
            up: false,
            error: Some(NOT_TRIED.to_owned()),
            since: None,
            told: BTreeSet::new(),
            revision: 0,
            refused: None,
            complete: Instant::now(),
            was_complete: false,
        };
        Self {
            state: Mutex::new(state),
            metrics,
            day,
        }
    }

    /// Notes that everything up to that revision is there, as found by a round that began at `begun`. What is
    /// refused is not there: how many values, and the text that says so.
    pub(crate) fn is_there(
        &self,
        revision: Revision,
        begun: Instant,
        refused: Option<(u64, String)>,
    ) {
        let mut state = self.state.lock();
        state.revision = revision;
        if refused.is_none() {
            state.complete = begun;
            state.was_complete = true;
        }
        state.refused = refused;
    }

    /// Notes a round that succeeded; returns whether the log has told of a failure before it.
    fn succeeded(&self) -> bool {
        let mut state = self.state.lock();
        self.turn(&mut state, true);
        state.error = None;
        let told = !state.told.is_empty();
        state.told.clear();
        told
    }

    /// Notes a round that failed; returns whether the log has not given this reason since the last success.
    fn failed(&self, error: &str) -> bool {
        self.metrics.errors.inc();
        let mut state = self.state.lock();
        self.turn(&mut state, false);
        state.error = Some(error.to_owned());
        // A reason may hold numbers that move, such as revisions.
        let reason = error.replace(|c: char| c.is_ascii_digit(), "");
        state.told.len() < MOST_REASONS && state.told.insert(reason)
    }

    fn turn(&self, state: &mut RoundState, up: bool) {
        if state.since.is_none() || state.up != up {
            state.since = Some(self.day.look().wall_ms);
        }
        state.up = up;
    }

    /// Returns the status now, when the store is at `revision`.
    pub fn report(&self, revision: Revision) -> RoundReport {
        let state = self.state.lock();
        let refused = state.refused.as_ref();
        let reason = refused.map(|(_, text)| text);
        let missing = revision.saturating_sub(state.revision);
        let revisions = missing.saturating_add(refused.map_or(0, |(values, _)| *values));
        RoundReport {
            up: state.up,
            error: state.error.as_ref().or(reason).cloned(),
            since: state.since,
            revisions,
            seconds: if revisions == 0 && state.up {
                0.0
            } else {
                state.complete.elapsed().as_secs_f64()
            },
        }
    }

    /// Whether everything has been there since this began. Before that nobody knows for how long it was not: what
    /// the report says is counted from the start.
    pub fn was_complete(&self) -> bool {
        self.state.lock().was_complete
    }

    /// Sets the metrics to the status now, when the store is at `revision`.
    pub(crate) fn measure(&self, revision: Revision) {
        let report = self.report(revision);
        let revisions = i64::try_from(report.revisions).unwrap_or(i64::MAX);
        self.metrics.up.set(i64::from(report.up));
        self.metrics.lag_revisions.set(revisions);
        self.metrics.lag.set(report.seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::{Calendar, DayStart};
    use crate::clock::ManualClock;
    use crate::current_day::CurrentDayOptions;
    use crate::metrics::Metrics;

    fn status(clock: &Arc<ManualClock>) -> RoundStatus {
        let day = CurrentDay::new(CurrentDayOptions {
            calendar: Calendar::new("UTC", DayStart::default()).unwrap(),
            clock: Arc::clone(clock) as _,
            max_clock_jump_ms: 60_000,
            max_away_ms: 60_000,
        });
        let metrics = Metrics::new().mirror.round;
        RoundStatus::new(metrics, Arc::new(day))
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let mut waits = |longest| backoff.next(Duration::from_millis(longest)).as_millis();
        assert_eq!([1000; 4].map(&mut waits), [250, 500, 1000, 1000]);
        assert_eq!(waits(300), 300);
        assert_eq!([5000; 2].map(waits), [600, 1200]);
    }

    #[test]
    fn the_log_gives_each_reason_once_until_the_work_goes_on() {
        let clock = Arc::new(ManualClock::new(1_000));
        let status = status(&clock);
        assert!(!status.succeeded(), "nothing was told before");
        assert!(status.failed("it is away"));
        assert!(status.failed("revision 7 is refused"));
        for again in ["it is away", "revision 8 is refused"] {
            assert!(!status.failed(again), "{again}");
        }
        assert!(status.succeeded());
        assert!(!status.succeeded());
        assert!(status.failed("it is away"));
        let told = (0..100).filter(|n| status.failed(&"!".repeat(*n))).count();
        assert_eq!(told, MOST_REASONS - 1);
    }

    #[test]
    fn since_tells_when_it_last_began_or_ceased_to_work() {
        let clock = Arc::new(ManualClock::new(1_000));
        let status = status(&clock);
        let report = status.report(5);
        assert_eq!(
            (report.up, report.since, report.revisions),
            (false, None, 5)
        );
        assert_eq!(report.error.as_deref(), Some(NOT_TRIED));
        let since = |round: &dyn Fn() -> bool| {
            clock.advance(1_000);
            round();
            status.report(0).since
        };
        assert_eq!(since(&|| status.failed("a")), Some(2_000));
        assert_eq!(since(&|| status.failed("b")), Some(2_000));
        assert_eq!(since(&|| status.succeeded()), Some(4_000));
        assert_eq!(since(&|| status.succeeded()), Some(4_000));
        assert_eq!(since(&|| status.failed("a")), Some(6_000));
    }

    #[test]
    fn what_is_refused_is_told_and_is_no_failure() {
        let status = status(&Arc::new(ManualClock::new(0)));
        status.is_there(7, Instant::now(), Some((2, "two are refused".to_owned())));
        assert!(!status.was_complete());
        status.succeeded();
        let report = status.report(9);
        assert_eq!((report.up, report.revisions), (true, 4));
        assert_eq!(report.error.as_deref(), Some("two are refused"));
        status.is_there(9, Instant::now(), None);
        assert!(status.was_complete());
        let report = status.report(9);
        assert_eq!(
            (report.error, report.revisions, report.seconds),
            (None, 0, 0.0)
        );
    }
}
