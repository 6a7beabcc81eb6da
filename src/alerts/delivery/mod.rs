//! How notices reach their receivers: a webhook, whose notices wait in a queue, and Alertmanager, which is told how
//! all alerts stand again and again.
//!
//! A receiver that fails is tried again, later each time; what it says is never obeyed: no redirect is followed.

mod alertmanager;
mod payload;
mod post;
mod target;
mod webhook;

pub use alertmanager::{AlertStanding, tell_alertmanager};
use payload::signature;
pub use payload::{ToldAlert, postable};
pub use post::{PostError, Posted, Poster};
pub use target::AlertUrl;
pub use webhook::{Outbox, deliver};

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use secrecy::SecretString;

use crate::rounds::Backoff;

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The longest wait that a receiver may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// The receivers.
#[derive(Clone, Debug, Default)]
pub struct Receivers {
    /// `alerts.webhook`.
    pub webhook: Option<AlertUrl>,
    /// `alerts.alertmanager`.
    pub alertmanager: Option<AlertUrl>,
    /// `alerts.secret`: signs what the webhook is told.
    pub secret: Option<SecretString>,
    /// `alerts.timeout`: how long one try may take.
    pub timeout: Duration,
    /// `alerts.queue`: most notices that wait for the webhook.
    pub queue: usize,
}

impl Receivers {
    /// Signs what the webhook is told; `None` where there is nothing to sign with.
    pub fn signed(&self, body: &[u8]) -> Option<HeaderValue> {
        signature(self.secret.as_ref()?, body)
    }
}

/// Waits between tries.
#[derive(Default)]
struct Waits {
    backoff: Backoff,
}

impl Waits {
    /// Returns the wait after one more failure: twice the one before, up to [`LONGEST_WAIT`], a quarter more or less
    /// so that many do not come back at one instant; longer where the receiver asked for that.
    fn next(&mut self, asked: Option<Duration>) -> Duration {
        let mut random = [0_u8; 1];
        // Without randomness the wait is the plain one.
        let spread = getrandom::fill(&mut random)
            .map_or(128, |()| u32::from(random.first().copied().unwrap_or(128)));
        let wait = self.backoff.next(LONGEST_WAIT) * (384 + spread) / 512;
        asked.map_or(wait, |asked| wait.max(asked.min(LONGEST_ASKED)))
    }

    fn reset(&mut self) {
        self.backoff = Backoff::default();
    }
}

/// What both ways of delivery share.
#[derive(Clone)]
pub struct Delivery {
    /// Sends requests.
    pub poster: Arc<Poster>,
    /// Who is told.
    pub receivers: Receivers,
    /// Where deliveries are counted.
    pub metrics: crate::metrics::AlertMetrics,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_spread_and_heed_what_is_asked() {
        let mut waits = Waits::default();
        let mut before = Duration::ZERO;
        for number in 0..20 {
            let wait = waits.next(None);
            assert!(wait <= LONGEST_WAIT * 5 / 4, "{number}: {wait:?}");
            assert!(wait * 2 >= before, "{number}: {wait:?} after {before:?}");
            before = wait;
        }
        assert!(before >= LONGEST_WAIT * 3 / 4);
        waits.reset();
        assert_eq!(waits.next(Some(Duration::from_secs(90))).as_secs(), 90);
        assert_eq!(waits.next(Some(Duration::MAX)), LONGEST_ASKED);
    }
}
