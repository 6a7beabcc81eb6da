//! What receivers are sent: the webhook payload of Alertmanager, version 4, and what its API version 2 takes.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use sha2::Sha256;

use crate::counter::{Millis, rfc3339};

/// What Alertmanager writes for an alert that has not ended.
const NOT_ENDED: &str = "0001-01-01T00:00:00Z";

words! {
    /// Whether an alert fires, for receivers.
    NoticeStatus {
        /// It fires.
        Firing = "firing",
        /// It has ended.
        Resolved = "resolved",
    }
}

/// An alert as receivers are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldAlert {
    /// What names it.
    pub labels: BTreeMap<&'static str, String>,
    /// What is said of it.
    pub annotations: BTreeMap<&'static str, String>,
    /// When it fired.
    pub starts_at: Millis,
    /// When it ended; `None` while it fires.
    pub ends_at: Option<Millis>,
    /// Names it to receivers.
    pub fingerprint: String,
    /// Where it can be looked up; empty where no address is known.
    pub link: String,
    /// The address of the server for people; empty where none is known.
    pub server_url: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WebhookPayload<'a> {
    receiver: &'static str,
    status: &'static str,
    alerts: [WebhookAlert<'a>; 1],
    group_labels: BTreeMap<&'static str, &'a str>,
    common_labels: &'a BTreeMap<&'static str, String>,
    common_annotations: &'a BTreeMap<&'static str, String>,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    version: &'static str,
    group_key: String,
    truncated_alerts: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WebhookAlert<'a> {
    status: &'static str,
    labels: &'a BTreeMap<&'static str, String>,
    annotations: &'a BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    fingerprint: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PostableAlert<'a> {
    labels: &'a BTreeMap<&'static str, String>,
    annotations: &'a BTreeMap<&'static str, String>,
    starts_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<String>,
    #[serde(rename = "generatorURL", skip_serializing_if = "str::is_empty")]
    generator_url: &'a str,
}

impl ToldAlert {
    fn status(&self) -> NoticeStatus {
        match self.ends_at {
            None => NoticeStatus::Firing,
            Some(_) => NoticeStatus::Resolved,
        }
    }

    /// Returns the labels that group it: the same for each notice of one alert.
    fn group(&self) -> BTreeMap<&'static str, &str> {
        let grouped = self.labels.iter();
        let grouped = grouped.filter(|(name, _)| **name != "severity");
        grouped
            .map(|(name, value)| (*name, value.as_str()))
            .collect()
    }

    /// Returns the body that a webhook of Alertmanager gets.
    pub fn webhook(&self) -> Vec<u8> {
        let status = self.status().as_str();
        let group = self.group();
        let pairs: Vec<String> = group
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        let payload = WebhookPayload {
            receiver: "counterd",
            status,
            alerts: [WebhookAlert {
                status,
                labels: &self.labels,
                annotations: &self.annotations,
                starts_at: rfc3339(self.starts_at),
                ends_at: self.ends_at.map_or_else(|| NOT_ENDED.to_owned(), rfc3339),
                generator_url: &self.link,
                fingerprint: &self.fingerprint,
            }],
            common_labels: &self.labels,
            common_annotations: &self.annotations,
            external_url: &self.server_url,
            version: "4",
            group_key: format!("{{}}:{{{}}}", pairs.join(", ")),
            truncated_alerts: 0,
            group_labels: group,
        };
        // Nothing in it cannot be written as JSON.
        serde_json::to_vec(&payload).unwrap_or_default()
    }
}

/// Returns the body that the API of Alertmanager takes. An alert that fires has no end there: Alertmanager gives it one
/// by its own clock and `resolve_timeout`. By a clock of ours that is slow it would have ended already.
pub fn postable(alerts: &[ToldAlert]) -> Vec<u8> {
    let alerts: Vec<PostableAlert<'_>> = alerts
        .iter()
        .map(|alert| PostableAlert {
            labels: &alert.labels,
            annotations: &alert.annotations,
            starts_at: rfc3339(alert.starts_at),
            ends_at: alert.ends_at.map(rfc3339),
            generator_url: &alert.link,
        })
        .collect();
    serde_json::to_vec(&alerts).unwrap_or_default()
}

/// Signs a body: `sha256=` and the HMAC of its bytes in hexadecimal.
pub fn signature(secret: &SecretString, body: &[u8]) -> Option<HeaderValue> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).ok()?;
    mac.update(body);
    let mut text = "sha256=".to_owned();
    for byte in mac.finalize().into_bytes() {
        text.push_str(&format!("{byte:02x}"));
    }
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(ends_at: Option<Millis>) -> ToldAlert {
        ToldAlert {
            labels: BTreeMap::from([
                ("alertname", "counterd_drop".to_owned()),
                ("counter", "online_players".to_owned()),
                ("severity", "critical".to_owned()),
            ]),
            annotations: BTreeMap::from([("summary", "it fell".to_owned())]),
            starts_at: 1_795_521_600_000,
            ends_at,
            fingerprint: "0123456789abcdef".to_owned(),
            link: "http://h/api/v1/alerts".to_owned(),
            server_url: "http://h".to_owned(),
        }
    }

    #[test]
    fn the_webhook_gets_these_bytes() {
        let wanted = concat!(
            r#"{"receiver":"counterd","status":"firing","alerts":[{"status":"firing","#,
            r#""labels":{"alertname":"counterd_drop","counter":"online_players","severity":"critical"},"#,
            r#""annotations":{"summary":"it fell"},"startsAt":"2026-11-24T12:00:00.000Z","#,
            r#""endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://h/api/v1/alerts","#,
            r#""fingerprint":"0123456789abcdef"}],"#,
            r#""groupLabels":{"alertname":"counterd_drop","counter":"online_players"},"#,
            r#""commonLabels":{"alertname":"counterd_drop","counter":"online_players","severity":"critical"},"#,
            r#""commonAnnotations":{"summary":"it fell"},"externalURL":"http://h","version":"4","#,
            r#""groupKey":"{}:{alertname=\"counterd_drop\", counter=\"online_players\"}","truncatedAlerts":0}"#,
        );
        assert_eq!(String::from_utf8(alert(None).webhook()).unwrap(), wanted);
        let ended = String::from_utf8(alert(Some(1_795_521_660_000)).webhook()).unwrap();
        assert!(ended.contains(r#""status":"resolved""#), "{ended}");
        assert!(
            ended.contains(r#""endsAt":"2026-11-24T12:01:00.000Z""#),
            "{ended}"
        );
    }

    #[test]
    fn the_api_is_told_an_end_only_of_what_has_ended() {
        let body = postable(&[alert(None), alert(Some(5))]);
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body[0].get("endsAt"), None);
        assert_eq!(body[1]["endsAt"], "1970-01-01T00:00:00.005Z");
    }

    #[test]
    fn a_signature_is_the_one_of_the_standard() {
        // RFC 4231, test case 2.
        let secret = SecretString::from("Jefe");
        let signed = signature(&secret, b"what do ya want for nothing?").unwrap();
        let wanted = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signed, wanted);
    }
}
