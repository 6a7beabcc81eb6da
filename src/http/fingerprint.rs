//! What an idempotency key is bound to: xxh3-128 of method, path and the parsed request without its
//! token. It is stored, so the encoding below never changes for a request that stays the same.
//!
//! Every part has a fixed length or its length before it; so two requests have the same encoding
//! only if they ask for the same. It makes no difference whether a field is absent or has its default, in
//! which order fields are, how a string is escaped, whether zero has a sign, and whether a fraction ends
//! in zeros.

use http::HeaderMap;
use http::header::HeaderName;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_128;

use super::error::{Code, Problem};
use super::parse;
use crate::counter::{Adjustment, Definition, FieldForm, Operation, SessionId, UserId};
use crate::engine::IdempotencyKey;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Longest key, in bytes.
const MAX_KEY: usize = 255;

/// The request's key, if it has one.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(key) = headers.get(&IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let is_once = headers.get_all(&IDEMPOTENCY_KEY).iter().count() == 1;
    // A text is printable ASCII, with tabs.
    let key = key.to_str().ok().filter(|key| !key.contains('\t'));
    let key = key.filter(|key| is_once && (1..=MAX_KEY).contains(&key.len()));
    let detail = "send one `Idempotency-Key` of 1 to 255 printable ASCII characters";
    let refused = || Problem::new(Code::InvalidIdempotencyKey, detail);
    key.map(Some).ok_or_else(refused)
}

/// The encoding of one request.
pub(super) struct Fingerprint(Vec<u8>);

impl Fingerprint {
    /// Begins with the call and the counter. `name` is decoded, so that two spellings of a path
    /// are one.
    pub(super) fn new(method: &str, call: &str, name: &str) -> Self {
        let mut encoding = Self(Vec::with_capacity(128));
        // The encoding's version.
        encoding.0.push(1);
        for part in [method, call, name] {
            encoding.text(part);
        }
        encoding
    }

    /// The key with what it is bound to.
    pub(super) fn bind(self, key: &str) -> Box<IdempotencyKey> {
        Box::new(IdempotencyKey {
            key: key.into(),
            fingerprint: xxh3_128(&self.0),
        })
    }

    fn text(&mut self, text: &str) {
        self.0.extend_from_slice(&(text.len() as u64).to_le_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn integer(&mut self, number: i64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// Whether it is there, then what it is.
    fn maybe<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.0.push(u8::from(value.is_some()));
        if let Some(value) = value {
            put(self, value);
        }
    }

    /// The body of an increment or decrement.
    pub(super) fn change(
        mut self,
        amount: i64,
        user_id: Option<&UserId>,
        metadata: Option<&RawValue>,
    ) -> Self {
        self.integer(amount);
        self.maybe(user_id, |encoding, user_id| encoding.text(user_id.as_str()));
        self.maybe(metadata, |encoding, metadata| {
            encoding.text(&parse::canonical(metadata))
        });
        self
    }

    /// The body of a heartbeat or a leave.
    pub(super) fn lease(
        self,
        amount: i64,
        user_id: Option<&UserId>,
        session: Option<&SessionId>,
    ) -> Self {
        let mut encoding = self.change(amount, user_id, None);
        encoding.maybe(session, |encoding, session| encoding.text(session.as_str()));
        encoding
    }

    /// The body of a batch; `metadata` by index, in order.
    pub(super) fn batch(
        mut self,
        operations: &[Operation],
        metadata: &[(usize, &RawValue)],
    ) -> Self {
        self.0
            .extend_from_slice(&(operations.len() as u64).to_le_bytes());
        let mut metadata = metadata.iter().peekable();
        for (index, operation) in operations.iter().enumerate() {
            let Operation {
                action,
                amount,
                user_id,
                session,
                ..
            } = operation;
            self.0.push(1 + *action as u8);
            self.text(operation.counter.as_str());
            if action.is_of_leases() {
                self = self.lease(*amount, user_id.as_ref(), session.as_ref());
                continue;
            }
            let own = metadata
                .next_if(|(of, _)| *of == index)
                .map(|(_, metadata)| *metadata);
            self = self.change(*amount, user_id.as_ref(), own);
        }
        self
    }

    /// The body of an adjustment.
    pub(super) fn adjust(mut self, adjustment: Adjustment, reason: &str) -> Self {
        let (tag, number) = match adjustment {
            Adjustment::To(value) => (1, value),
            Adjustment::By(delta) => (2, delta),
        };
        self.0.push(tag);
        self.integer(number);
        self.text(reason);
        self
    }

    /// The body of a definition, with its defaults filled in.
    pub(super) fn define(mut self, definition: &Definition) -> Self {
        for form in definition.forms() {
            match form {
                FieldForm::Word(place) => self.0.push(1 + place),
                FieldForm::Number(number) => self.integer(number),
                FieldForm::Instant(at) => self.maybe(at, Self::integer),
                FieldForm::Text(text) => self.maybe(text, Self::text),
                FieldForm::Length(None) => {}
                FieldForm::Length(Some(length)) => self.integer(length.0.into()),
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counter::{Kind, OnBound, Reset};
    use http::HeaderValue;

    fn of(body: &str) -> u128 {
        let change = parse::change(body.as_bytes()).unwrap();
        Fingerprint::new("POST", "increment", "a")
            .change(
                change.value.unwrap_or(1),
                change.user_id.as_ref(),
                change.metadata,
            )
            .bind("k")
            .fingerprint
    }

    #[test]
    fn requests_that_ask_for_the_same_have_the_same_fingerprint() {
        let plain = of("");
        for body in [
            "{}",
            "null",
            r#"{"value":1}"#,
            r#"{"value":null,"user_id":null}"#,
        ] {
            assert_eq!(of(body), plain, "{body}");
        }
        let full = of(r#"{"value":2,"user_id":"ü","metadata":{"b":[1,2],"a":"x"}}"#);
        for body in [
            r#"{"metadata": {"a": "\u0078", "b": [1, 2]}, "user_id": "\u00fc", "value": 2}"#,
            r#"{"user_id":"ü","metadata":{"a":"x","b":[1,2]},"value":2}"#,
        ] {
            assert_eq!(of(body), full, "{body}");
        }
    }

    #[test]
    fn requests_that_differ_have_different_fingerprints() {
        let bodies = [
            "",
            r#"{"value":2}"#,
            r#"{"user_id":"1"}"#,
            r#"{"metadata":{}}"#,
            r#"{"metadata":{"a":1}}"#,
            r#"{"metadata":{"a":"1"}}"#,
            r#"{"metadata":{"a":[1,2]}}"#,
            r#"{"metadata":{"a":[2,1]}}"#,
            r#"{"metadata":{"a":18446744073709551616}}"#,
            r#"{"metadata":{"a":18446744073709551617}}"#,
            r#"{"metadata":{"a":9007199254740992.0}}"#,
            r#"{"metadata":{"a":9007199254740993.0}}"#,
            r#"{"user_id":"1","metadata":{}}"#,
        ];
        let mut seen: Vec<u128> = bodies.iter().map(|body| of(body)).collect();
        let on = |method, call, name| {
            Fingerprint::new(method, call, name)
                .change(1, None, None)
                .bind("k")
                .fingerprint
        };
        seen.extend([
            on("POST", "decrement", "a"),
            on("POST", "increment", "b"),
            on("PUT", "increment", "a"),
        ]);
        seen.push(on("POST", "incrementa", ""));
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn the_encoding_on_disk_stays() {
        assert_eq!(of(""), PLAIN);
        assert_eq!(of(r#"{"value":2,"user_id":"u","metadata":{"a":1}}"#), FULL);
    }

    #[test]
    fn a_definition_is_bound_field_by_field_in_an_order_that_stays() {
        let definition = Definition {
            kind: Kind::Unique,
            reset: Reset::Daily,
            min: -5,
            max: 7,
            on_bound: OnBound::Refuse,
            expires_at: Some(9),
            description: Some("x".to_owned()),
            ..Definition::default()
        };
        let request = || Fingerprint::new("PUT", "define", "a");
        let mut want = request().0;
        want.extend([3, 2, 1]);
        want.extend([-5, 7].map(i64::to_le_bytes).concat());
        want.push(1);
        want.extend(9i64.to_le_bytes());
        want.push(1);
        want.extend(1u64.to_le_bytes());
        want.push(b'x');
        assert_eq!(request().define(&definition).0, want);
    }

    const PLAIN: u128 = 194979391077102678746280907423939037206;
    const FULL: u128 = 301841457564988280426109577987557961928;

    #[test]
    fn one_printable_key_is_taken() {
        let with = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(
                    IDEMPOTENCY_KEY,
                    HeaderValue::from_bytes(value.as_bytes()).unwrap(),
                );
            }
            key(&headers)
                .map(|key| key.map(str::to_owned))
                .map_err(|problem| problem.code)
        };
        assert_eq!(with(&[]), Ok(None));
        assert_eq!(with(&["a b~"]), Ok(Some("a b~".to_owned())));
        assert_eq!(with(&[&"x".repeat(255)]), Ok(Some("x".repeat(255))));
        for bad in [
            &[""][..],
            &["a", "a"],
            &["ü"],
            &["a\tb"],
            &[&"x".repeat(256)],
        ] {
            assert_eq!(with(bad), Err(Code::InvalidIdempotencyKey), "{bad:?}");
        }
    }
}
