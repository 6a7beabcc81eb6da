//! The body of a batch, read in one go: at most one allocation for each name and user id met.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

use super::change::{AMOUNT, WEIGHT, amount_or_weight, session, user_id};
use super::metadata;
use super::object::{Object, in_operation, read, text};
use crate::counter::{Action, CounterName, MAX_WEIGHT, NameFault, Operation, SessionId, UserId};
use crate::http::error::{Code, Problem};

/// Most operations of a batch.
const MAX_BATCH: usize = 1000;

/// The body of a batch.
#[derive(Debug, Default)]
pub(in crate::http) struct Batch<'a> {
    pub(in crate::http) operations: Vec<Operation>,
    /// Whether each operation is judged by itself.
    pub(in crate::http) each: bool,
    /// The metadata of those operations that have some, by index.
    pub(in crate::http) metadata: Vec<(usize, &'a RawValue)>,
}

/// Reads the body of a batch.
pub(in crate::http) fn batch(body: &[u8]) -> Result<Batch<'_>, Problem> {
    let BatchBody { operations, mode } = read(body)?;
    let mut batch = operations.unwrap_or(Operations(Ok(Batch::default()))).0?;
    if batch.operations.is_empty() {
        let detail = "send `operations`: 1 to 1000 objects with `op` and `name`";
        return Err(Problem::new(Code::InvalidBatch, detail));
    }
    batch.each = mode == Some(Mode::Each);
    Ok(batch)
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BatchBody<'a> {
    #[serde(borrow)]
    operations: Option<Operations<'a>>,
    mode: Option<Mode>,
}

words! {
    /// How the operations of a batch are judged.
    Mode {
        /// All are done or none.
        All = "all",
        /// Each is judged by itself.
        Each = "each",
    }
}

/// One operation as it was sent.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct OperationBody<'a> {
    op: Option<Action>,
    #[serde(borrow, deserialize_with = "text")]
    name: Option<Cow<'a, str>>,
    #[serde(deserialize_with = "amount_or_weight")]
    value: Option<i64>,
    #[serde(deserialize_with = "user_id")]
    user_id: Option<UserId>,
    #[serde(deserialize_with = "session")]
    session: Option<SessionId>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

/// The operations of a batch, or what is wrong with the first that cannot be one.
struct Operations<'a>(Result<Batch<'a>, Problem>);

impl<'de: 'a, 'a> Deserialize<'de> for Operations<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_seq(OperationsVisitor)
    }
}

struct OperationsVisitor;

impl<'de> Visitor<'de> for OperationsVisitor {
    type Value = Operations<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut names = NameMemo::new();
        let mut batch = Batch {
            operations: Vec::with_capacity(MAX_BATCH),
            ..Batch::default()
        };
        let mut refused = None;
        while let Some(Object(operation)) = list.next_element()? {
            // What follows is read on, for it may not be JSON.
            if refused.is_none() {
                refused = batch.push(operation, &mut names).err();
            }
        }
        Ok(Operations(refused.map_or(Ok(batch), Err)))
    }
}

impl<'a> Batch<'a> {
    fn push(&mut self, sent: OperationBody<'a>, names: &mut NameMemo) -> Result<(), Problem> {
        let index = self.operations.len();
        if index == MAX_BATCH {
            let detail = "a batch has at most 1000 operations";
            return Err(Problem::new(Code::InvalidBatch, detail));
        }
        self.metadata
            .extend(sent.metadata.map(|metadata| (index, metadata)));
        let operation = sent.operation(names);
        self.operations
            .push(operation.map_err(|problem| in_operation(problem, index))?);
        Ok(())
    }
}

impl OperationBody<'_> {
    /// Checks what only heartbeats and leaves have, and what they have not.
    #[cold]
    fn check_lease(&self, action: Action, amount: i64) -> Result<(), Problem> {
        let odd = match action {
            Action::Increment | Action::Decrement => self.session.as_ref().map(|_| "session"),
            Action::Heartbeat => self.metadata.map(|_| "metadata"),
            Action::Leave => (self.metadata.map(|_| "metadata")).or(self.value.map(|_| "value")),
        };
        if let Some(field) = odd {
            let detail = format!("a {} has no `{field}`", action.as_str());
            return Err(Problem::new(Code::UnknownField, detail));
        }
        let wanted = match action {
            Action::Heartbeat if amount > MAX_WEIGHT => Some(WEIGHT),
            Action::Increment | Action::Decrement if amount == 0 => Some(AMOUNT),
            _ => None,
        };
        if let Some(wanted) = wanted {
            let detail = format!("`value` must be {wanted}");
            return Err(Problem::new(Code::InvalidValue, detail));
        }
        Ok(())
    }

    fn operation(self, names: &mut NameMemo) -> Result<Operation, Problem> {
        let missing = |field| Problem::new(Code::InvalidBatch, format!("`{field}` is missing"));
        let action = self.op.ok_or_else(|| missing("op"))?;
        if self.name.is_none() {
            return Err(missing("name"));
        }
        self.metadata.map_or(Ok(()), metadata::check)?;
        let amount = self.value.unwrap_or(1);
        if action.is_of_leases() || self.session.is_some() || amount == 0 {
            self.check_lease(action, amount)?;
        }
        let name = self.name.unwrap_or_default();
        Ok(Operation {
            counter: names.parse(&name)?,
            action,
            amount,
            user_id: self.user_id,
            session: self.session,
        })
    }
}

/// Names met in a batch: operations that repeat a name share it without checking it again.
pub(super) struct NameMemo(Vec<Option<CounterName>>);

impl NameMemo {
    const PLACES: usize = 256;

    pub(super) fn new() -> Self {
        Self(vec![None; Self::PLACES])
    }

    pub(super) fn parse(&mut self, text: &str) -> Result<CounterName, NameFault> {
        let place = xxh3_64(text.as_bytes()) as usize % Self::PLACES;
        match self.0.get_mut(place) {
            Some(Some(name)) if name.as_str() == text => Ok(name.clone()),
            Some(place) => Ok(place.insert(CounterName::parse(text)?).clone()),
            None => CounterName::parse(text),
        }
    }
}
