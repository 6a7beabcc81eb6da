//! The notices that wait for the webhook, and the task that delivers them in order.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::payload::ToldAlert;
use super::{Delivery, Waits};
use crate::counter::Millis;
use crate::current_day::{CurrentDay, Look};

/// A notice that waits.
struct Waiting {
    number: u64,
    alert: ToldAlert,
}

/// The notices that wait, oldest first. What is done with is told to who keeps them in the store.
#[derive(Default)]
pub struct Outbox {
    waiting: Mutex<VecDeque<Waiting>>,
    done: Mutex<Vec<u64>>,
    came: Notify,
    /// Told when a notice is done with.
    pub went: Notify,
}

impl Outbox {
    /// Adds a notice. With more than `most` the oldest is given up; returns whether one was.
    pub fn push(&self, number: u64, alert: ToldAlert, most: usize) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.push_back(Waiting { number, alert });
        let over = waiting.len() > most;
        if over && let Some(given_up) = waiting.pop_front() {
            self.done.lock().push(given_up.number);
        }
        self.came.notify_one();
        over
    }

    /// Returns how many wait.
    pub fn count(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Takes the numbers of the notices that are done with.
    pub fn take_done(&self) -> Vec<u64> {
        std::mem::take(&mut *self.done.lock())
    }

    fn first(&self) -> Option<(u64, ToldAlert)> {
        let waiting = self.waiting.lock();
        let first = waiting.front()?;
        Some((first.number, first.alert.clone()))
    }

    fn finish(&self, number: u64) {
        let mut waiting = self.waiting.lock();
        // It may have been given up meanwhile.
        if waiting.front().is_some_and(|first| first.number == number) {
            waiting.pop_front();
            self.done.lock().push(number);
        }
        self.went.notify_one();
    }
}

/// A notice that waited for so long is given up, in milliseconds: a week.
const OLDEST_MS: Millis = 7 * 24 * 3_600_000;

/// Whether a notice of that number, which is the time at which it was made, is too old to be told. By a clock that
/// is not believed none is.
fn is_too_old(number: u64, look: Look) -> bool {
    let made_at = Millis::try_from(number).unwrap_or(Millis::MAX);
    !look.clock_fault && look.wall_ms.saturating_sub(made_at) > OLDEST_MS
}

/// Delivers notices for as long as the task lives.
pub async fn deliver(outbox: Arc<Outbox>, delivery: Delivery, day: Arc<CurrentDay>) {
    let Some(url) = &delivery.receivers.webhook else {
        return;
    };
    let mut waits = Waits::default();
    let mut told = false;
    loop {
        let Some((number, alert)) = outbox.first() else {
            outbox.came.notified().await;
            continue;
        };
        if is_too_old(number, day.look()) {
            let alert = alert.labels.get("alertname");
            tracing::error!(
                alert,
                "a notice waited for more than a week; it is given up"
            );
            delivery.metrics.dropped.inc();
            outbox.finish(number);
            continue;
        }
        let body = alert.webhook();
        let signature = delivery.receivers.signed(&body);
        let posted = delivery.poster.post(url, body.into(), signature).await;
        let (asked, error) = match posted {
            Ok(posted) if posted.is_taken() => {
                if std::mem::take(&mut told) {
                    tracing::info!("the webhook takes notices again");
                }
                waits.reset();
                delivery.metrics.notices.inc();
                outbox.finish(number);
                continue;
            }
            Ok(posted) if !posted.may_retry() => {
                tracing::error!(
                    status = posted.status.as_u16(),
                    said = posted.said,
                    "the webhook refuses a notice; it is given up"
                );
                waits.reset();
                delivery.metrics.failures.inc();
                delivery.metrics.dropped.inc();
                outbox.finish(number);
                continue;
            }
            Ok(posted) => (posted.retry_after, posted.refusal()),
            Err(error) => (None, error.to_string()),
        };
        delivery.metrics.failures.inc();
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(error, "the webhook takes no notices; they are tried again");
        }
        tokio::time::sleep(waits.next(asked)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    use crate::alerts::delivery::{AlertUrl, Poster, Receivers};
    use crate::calendar::{Calendar, Day, DayStart};
    use crate::clock::ManualClock;
    use crate::current_day::CurrentDayOptions;
    use crate::metrics::Metrics;

    fn day(wall_ms: Millis) -> Arc<CurrentDay> {
        Arc::new(CurrentDay::new(CurrentDayOptions {
            calendar: Calendar::new("UTC", DayStart::default()).unwrap(),
            clock: Arc::new(ManualClock::new(wall_ms)),
            max_clock_jump_ms: 60_000,
            max_away_ms: 60_000,
        }))
    }

    fn alert() -> ToldAlert {
        ToldAlert {
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            starts_at: 0,
            ends_at: None,
            fingerprint: String::new(),
            link: String::new(),
            server_url: String::new(),
        }
    }

    #[test]
    fn a_notice_that_is_too_old_is_given_up_without_being_told() {
        let runtime = crate::background::runtime().unwrap();
        // Nobody listens there: whoever tries to tell it does not come to an end.
        let webhook = AlertUrl::parse("http://127.0.0.1:9/hook", "").unwrap();
        let metrics = Metrics::new().alerts;
        let delivery = Delivery {
            poster: Poster::new(Duration::from_secs(1)),
            receivers: Receivers {
                webhook: Some(webhook),
                ..Receivers::default()
            },
            metrics: metrics.clone(),
        };
        let outbox = Arc::new(Outbox::default());
        outbox.push(1000, alert(), 10);
        let delivers = deliver(Arc::clone(&outbox), delivery, day(1001 + OLDEST_MS));
        runtime.block_on(async {
            let within = tokio::time::timeout(Duration::from_secs(60), async {
                tokio::select! {
                    () = delivers => {}
                    () = outbox.went.notified() => {}
                }
            });
            within.await.unwrap();
        });
        assert_eq!(outbox.take_done(), [1000]);
        assert_eq!(metrics.dropped.get(), 1);
    }

    #[test]
    fn a_notice_is_too_old_after_a_week_by_a_clock_that_is_believed() {
        let look = |wall_ms, clock_fault| Look {
            day: Day::MIN,
            wall_ms,
            clock_fault,
            latest_ms: wall_ms,
        };
        assert!(!is_too_old(1000, look(1000 + OLDEST_MS, false)));
        assert!(is_too_old(1000, look(1001 + OLDEST_MS, false)));
        assert!(!is_too_old(1000, look(1001 + OLDEST_MS, true)));
        assert!(!is_too_old(u64::MAX, look(0, false)));
    }
}
