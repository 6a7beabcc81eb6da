//! The notices that wait for the webhook, and the task that delivers them in order.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::payload::ToldAlert;
use super::{Delivery, Waits};

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

/// Delivers notices for as long as the task lives.
pub async fn deliver(outbox: Arc<Outbox>, delivery: Delivery) {
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
                    said = url.told(&posted.said),
                    "the webhook refuses a notice; it is given up"
                );
                waits.reset();
                delivery.metrics.failures.inc();
                delivery.metrics.dropped.inc();
                outbox.finish(number);
                continue;
            }
            Ok(posted) => (posted.retry_after, posted.refusal(url)),
            Err(error) => (None, error.to_string()),
        };
        delivery.metrics.failures.inc();
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(error, "the webhook takes no notices; they are tried again");
        }
        tokio::time::sleep(waits.next(asked)).await;
    }
}
