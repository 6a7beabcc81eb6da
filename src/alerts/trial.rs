//! Trying the receivers: a notice that is marked as a test, or a connection alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::delivery::{AlertUrl, PostError, Posted, Poster, Receivers, ToldAlert, postable};
use super::notice::{NoticeTexts, fingerprint};
use crate::counter::Millis;

/// What a receiver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Which way it is, and where.
    pub receiver: String,
    /// What it said; `Err` where it did not take the notice, or cannot be reached.
    pub result: Result<String, String>,
}

fn named(key: &str, url: &AlertUrl) -> String {
    format!("{key} ({})", url.place())
}

fn answered(key: &str, url: &AlertUrl, posted: Result<Posted, PostError>) -> Answered {
    let result = match posted {
        Ok(posted) => {
            let mut said = format!("status {}", posted.status);
            if !posted.said.is_empty() {
                said.push_str(": ");
                said.push_str(&posted.said);
            }
            if posted.is_taken() {
                Ok(said)
            } else {
                Err(said)
            }
        }
        Err(error) => Err(error.to_string()),
    };
    Answered {
        receiver: named(key, url),
        result,
    }
}

/// Sends a test notice by each way that is configured; returns what each receiver said.
pub async fn tell_test(
    poster: &Arc<Poster>,
    receivers: &Receivers,
    texts: &NoticeTexts,
    now: Millis,
) -> Vec<Answered> {
    let alert = test_alert(texts, now);
    let mut answers = Vec::new();
    if let Some(url) = &receivers.webhook {
        let body = alert.webhook();
        let signature = receivers.signed(&body);
        let posted = poster.post(url, body.into(), signature).await;
        answers.push(answered("alerts.webhook", url, posted));
    }
    if let Some(url) = &receivers.alertmanager {
        let body = postable(&[alert]);
        let posted = poster.post(url, body.into(), None).await;
        answers.push(answered("alerts.alertmanager", url, posted));
    }
    answers
}

/// Connects to each receiver that is configured, and says nothing to it.
pub async fn reach_all(poster: &Arc<Poster>, receivers: &Receivers) -> Vec<Answered> {
    let ways = [
        ("alerts.webhook", &receivers.webhook),
        ("alerts.alertmanager", &receivers.alertmanager),
    ];
    let mut answers = Vec::new();
    for (key, url) in ways {
        let Some(url) = url else { continue };
        let reached = poster.reach(url).await;
        answers.push(Answered {
            receiver: named(key, url),
            result: reached
                .map(|()| "can be reached".to_owned())
                .map_err(|error| error.to_string()),
        });
    }
    answers
}

fn test_alert(texts: &NoticeTexts, now: Millis) -> ToldAlert {
    let mut labels = BTreeMap::from([
        ("alertname", "counterd_test".to_owned()),
        ("severity", "info".to_owned()),
    ]);
    if !texts.instance.is_empty() {
        labels.insert("instance", texts.instance.clone());
    }
    let text = "a test by `counterd alert test`: nothing is wrong";
    ToldAlert {
        fingerprint: fingerprint(labels.iter().map(|(name, value)| (*name, value.as_str()))),
        labels,
        annotations: BTreeMap::from([
            ("summary", text.to_owned()),
            ("description", text.to_owned()),
        ]),
        starts_at: now,
        ends_at: None,
        link: texts.server_url.clone(),
        server_url: texts.server_url.clone(),
    }
}
