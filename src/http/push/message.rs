//! What a client of the WebSocket asks for.

use std::time::Duration;

use serde::Deserialize;

use super::frame::Close;
use super::{MAX_NAMES, Position, Subscription};
use crate::counter::CounterName;

/// One message of a client.
#[derive(Debug)]
pub(super) struct Request {
    /// Counters that it wants to hear of no more.
    pub(super) unsubscribe: Vec<CounterName>,
    /// Counters that it wants to hear of; `None` where it asks for none.
    pub(super) subscribe: Option<Subscription>,
    /// Whether it wants to hear of alerts; `None` where it does not say.
    pub(super) alerts: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    subscribe: Option<Vec<String>>,
    unsubscribe: Option<Vec<String>>,
    since: Option<Since>,
    interval: Option<String>,
    alerts: Option<bool>,
}

/// A position, as its parts or as the `id` of an event.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Since {
    Parts { epoch: u64, revision: u64 },
    Id(String),
}

/// Reads a message. What is not understood closes the connection: the client is to be mended.
pub(super) fn parse(text: &str) -> Result<Request, Close> {
    let refused = |reason: String| Close::new(1008, reason);
    let message: Message =
        serde_json::from_str(text).map_err(|error| refused(format!("invalid_json: {error}")))?;
    let Message {
        subscribe,
        unsubscribe,
        since,
        interval,
        alerts,
    } = message;
    if subscribe.is_none() && unsubscribe.is_none() && alerts.is_none() {
        return Err(refused(
            "invalid_json: send `subscribe`, `unsubscribe` or `alerts`".to_owned(),
        ));
    }
    if subscribe.is_none() && (since.is_some() || interval.is_some()) {
        let reason = "invalid_json: `since` and `interval` belong to `subscribe`";
        return Err(refused(reason.to_owned()));
    }
    let since = match since {
        None => None,
        Some(Since::Parts { epoch, revision }) => Some(Position { epoch, revision }),
        Some(Since::Id(id)) => Some(Position::parse(&id).ok_or_else(|| {
            refused("invalid_json: `since` must be the `id` of an event".to_owned())
        })?),
    };
    let interval = interval
        .map(|text| interval_of(&text).ok_or(text))
        .transpose();
    let interval = interval
        .map_err(|_| refused("invalid_json: `interval` must be a span such as `5s`".to_owned()))?;
    let subscribe = subscribe
        .map(|names| {
            let names = names_of(&names)?;
            if names.is_empty() {
                return Err(refused(
                    "invalid_json: `subscribe` names no counter".to_owned(),
                ));
            }
            Ok(Subscription {
                names,
                since,
                interval,
            })
        })
        .transpose()?;
    Ok(Request {
        unsubscribe: names_of(&unsubscribe.unwrap_or_default())?,
        subscribe,
        alerts,
    })
}

/// Reads the least time between two updates; `None` for a text that is no span.
pub(in crate::http) fn interval_of(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

fn names_of(texts: &[String]) -> Result<Vec<CounterName>, Close> {
    let mut names: Vec<CounterName> = Vec::new();
    for text in texts {
        let name = CounterName::parse(text)
            .map_err(|fault| Close::new(1008, format!("invalid_name: {fault}")))?;
        if !names.contains(&name) {
            names.push(name);
        }
        if names.len() > MAX_NAMES {
            return Err(too_many());
        }
    }
    Ok(names)
}

/// Returns the end of a connection that asks for too many counters.
pub(super) fn too_many() -> Close {
    let reason = format!("too_many_names: a connection has at most {MAX_NAMES} counters");
    Close::new(1008, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_it_may_and_nothing_else() {
        let request = parse(
            r#"{"subscribe":["a","b","a"],"since":{"epoch":3,"revision":9},"interval":"5s","unsubscribe":["c"]}"#,
        )
        .unwrap();
        let subscription = request.subscribe.unwrap();
        assert_eq!(subscription.names.len(), 2);
        let since = Position {
            epoch: 3,
            revision: 9,
        };
        assert_eq!(subscription.since, Some(since));
        assert_eq!(subscription.interval, Some(Duration::from_secs(5)));
        assert_eq!(request.unsubscribe.len(), 1);
        assert_eq!(request.alerts, None);
        assert_eq!(parse(r#"{"alerts":true}"#).unwrap().alerts, Some(true));
        let by_id = parse(r#"{"subscribe":["a"],"since":"3.9"}"#).unwrap();
        assert_eq!(by_id.subscribe.unwrap().since, Some(since));
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"subscribe":[]}"#,
            r#"{"subscribe":["A"]}"#,
            r#"{"subscribe":"a"}"#,
            r#"{"subscribe":["a"],"subscribe":["b"]}"#,
            r#"{"subscribe":["a"],"since":7}"#,
            r#"{"subscribe":["a"],"since":"7"}"#,
            r#"{"subscribe":["a"],"interval":5}"#,
            r#"{"subscribe":["a"],"token":"x"}"#,
            r#"{"unsubscribe":["a"],"since":"3.9"}"#,
            r#"{"alerts":1}"#,
            r#"{"alerts":true,"since":"3.9"}"#,
        ] {
            assert_eq!(parse(bad).unwrap_err().code, 1008, "{bad}");
        }
    }
}
