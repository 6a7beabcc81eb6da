//! Alertmanager is told how the alerts stand: at once when one turns, then each minute.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::payload::{ToldAlert, postable};
use super::{Delivery, Waits};

/// How often it is told again.
const AGAIN: Duration = Duration::from_secs(60);

/// What Alertmanager is told: the alerts that fire, and those that ended within 5 minutes.
#[derive(Default)]
pub struct AlertStanding {
    /// The alerts.
    pub alerts: ArcSwap<Vec<ToldAlert>>,
    /// Told when one turned.
    pub turned: Notify,
}

/// Tells Alertmanager for as long as the task lives.
pub async fn tell_alertmanager(standing: Arc<AlertStanding>, delivery: Delivery) {
    let Some(url) = &delivery.receivers.alertmanager else {
        return;
    };
    let mut waits = Waits::default();
    let mut told = false;
    loop {
        let alerts = standing.alerts.load_full();
        let mut pause = AGAIN;
        if !alerts.is_empty() {
            let body = postable(&alerts);
            let posted = delivery.poster.post(url, body.into(), None).await;
            let (asked, retry, error) = match posted {
                Ok(posted) if posted.is_taken() => (None, false, String::new()),
                Ok(posted) => (posted.retry_after, posted.may_retry(), posted.refusal()),
                Err(error) => (None, true, error.to_string()),
            };
            if error.is_empty() {
                if std::mem::take(&mut told) {
                    tracing::info!("Alertmanager takes alerts again");
                }
                waits.reset();
                delivery.metrics.notices.inc();
            } else {
                delivery.metrics.failures.inc();
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(error, "Alertmanager takes no alerts; they are told again");
                }
                if retry {
                    pause = waits.next(asked);
                }
            }
        }
        // What turned meanwhile is told at once, unless it asked to be left alone.
        let rests = tokio::time::sleep(pause);
        if told {
            rests.await;
        } else {
            tokio::select! {
                () = rests => {}
                () = standing.turned.notified() => {}
            }
        }
    }
}
