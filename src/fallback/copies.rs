//! The copies: which one is asked, and which one is left alone after a failure.

use std::fmt::Display;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{
    CopySource, CopyStanding, DaysOf, FallbackOptions, Found, NoCopy, PageFound, PageWanted,
    StaleValue,
};
use crate::counter::{CopiedValue, CounterName};
use crate::export::postgres::{CopiedDay, PostgresError, PostgresReader};
use crate::mirror::{MirrorError, MirrorOptions, MirrorReader};
use crate::rounds::Backoff;

/// How long a copy may take to say whether a store has ever written to it. No reader waits for that.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a copy that failed is left alone before the next try, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// The copies, each with its state.
pub(super) struct Copies {
    redis: Option<AskedCopy<MirrorReader>>,
    postgres: Option<AskedCopy<PostgresReader>>,
}

/// A reader of a copy.
trait CopyReader: Send + Sized + 'static {
    type Error: Display + Send + 'static;

    /// Asks for no value, to see whether the copy answers.
    fn look(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Returns whether the copy itself is away, rather than unable to answer one question.
    fn is_away(error: &Self::Error) -> bool;
}

impl CopyReader for MirrorReader {
    type Error = MirrorError;

    async fn look(&mut self) -> Result<(), MirrorError> {
        self.values(&[]).await.map(drop)
    }

    fn is_away(error: &MirrorError) -> bool {
        error.is_away()
    }
}

impl CopyReader for PostgresReader {
    type Error = PostgresError;

    async fn look(&mut self) -> Result<(), PostgresError> {
        self.values(&[]).await.map(drop)
    }

    fn is_away(error: &PostgresError) -> bool {
        error.is_away()
    }
}

struct AskedCopy<R> {
    state: CopyState<R>,
    /// The error that the log last told; `None` while the copy answers.
    told: Option<String>,
    source: CopySource,
    new: Box<dyn Fn() -> R + Send>,
}

enum CopyState<R> {
    /// It may be asked.
    Up(R),
    /// It failed, and a task of its own tries it until it answers, so that no question waits for it.
    Down(JoinHandle<R>),
    /// It is being asked.
    Asked,
}

impl<R: CopyReader> AskedCopy<R> {
    fn new(source: CopySource, new: impl Fn() -> R + Send + 'static) -> Self {
        Self {
            state: CopyState::Up(new()),
            told: None,
            source,
            new: Box::new(new),
        }
    }

    /// Asks the copy; `None` while it is left alone after a failure.
    async fn ask<T: Send + 'static>(
        &mut self,
        question: impl AsyncFnOnce(&mut R) -> Result<T, R::Error>,
    ) -> Option<T> {
        let mut reader = match std::mem::replace(&mut self.state, CopyState::Asked) {
            CopyState::Up(reader) => reader,
            CopyState::Down(looking) if looking.is_finished() => {
                // After a panic the reader is made anew.
                looking.await.unwrap_or_else(|_| (self.new)())
            }
            CopyState::Down(looking) => {
                self.state = CopyState::Down(looking);
                return None;
            }
            CopyState::Asked => (self.new)(),
        };
        let Some(answer) = caught(question(&mut reader)).await else {
            tracing::error!(source = self.source.as_str(), "reading the copy panicked");
            self.state = CopyState::Up((self.new)());
            return None;
        };
        match answer {
            Ok(answer) => {
                self.state = CopyState::Up(reader);
                if self.told.take().is_some() {
                    let source = self.source.as_str();
                    tracing::info!(source, "values can be read there again");
                }
                Some(answer)
            }
            Err(error) => {
                self.tell(&error);
                self.state = if R::is_away(&error) {
                    CopyState::Down(tokio::spawn(look_until_up(reader)))
                } else {
                    CopyState::Up(reader)
                };
                None
            }
        }
    }

    fn tell(&mut self, error: &R::Error) {
        let (source, error) = (self.source.as_str(), error.to_string());
        if self.told.as_ref() != Some(&error) {
            tracing::warn!(source, error, "values cannot be read there");
            self.told = Some(error);
        }
    }
}

impl<R> Drop for AskedCopy<R> {
    fn drop(&mut self) {
        if let CopyState::Down(looking) = &self.state {
            looking.abort();
        }
    }
}

/// Waits for the work; `None` where it panics, as a driver might over a row that nobody expected.
async fn caught<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(done)) => Poll::Ready(Some(done)),
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}

async fn look_until_up<R: CopyReader>(mut reader: R) -> R {
    let mut backoff = Backoff::default();
    loop {
        tokio::time::sleep(backoff.next(LONGEST_PAUSE)).await;
        match reader.look().await {
            Err(error) if R::is_away(&error) => {}
            Ok(()) | Err(_) => return reader,
        }
    }
}

impl Copies {
    pub(super) fn new(options: &FallbackOptions) -> Self {
        let timeout = options.timeout;
        let redis = options.redis.clone().map(|redis| {
            AskedCopy::new(CopySource::Redis, move || {
                let redis = redis.clone();
                MirrorReader::new(MirrorOptions { timeout, ..redis })
            })
        });
        let postgres = options.postgres.clone().map(|postgres| {
            AskedCopy::new(CopySource::Postgres, move || {
                PostgresReader::new(postgres.clone(), timeout)
            })
        });
        Self { redis, postgres }
    }

    /// Asks for values: the mirror if it has everything, else the database, else what the mirror has.
    pub(super) async fn values(
        &mut self,
        names: &[CounterName],
    ) -> Result<(CopyStanding, Vec<Found>), NoCopy> {
        let mut partly = None;
        if let Some(redis) = self.redis.as_mut()
            && let Some(mirrored) = redis.ask(async |reader| reader.values(names).await).await
        {
            let standing = CopyStanding {
                source: CopySource::Redis,
                as_of: mirrored.complete_as_of,
            };
            let found: Vec<Found> = stale(mirrored.values, CopySource::Redis).collect();
            if standing.as_of.is_some() {
                return Ok((standing, found));
            }
            // An emptied mirror that has none of the names is skipped: ask PostgreSQL.
            partly = found
                .iter()
                .any(Option::is_some)
                .then_some((standing, found));
        }
        if let Some(postgres) = self.postgres.as_mut()
            && let Some(exported) = postgres
                .ask(async |reader| reader.values(names).await)
                .await
        {
            let standing = CopyStanding {
                source: CopySource::Postgres,
                as_of: exported.as_of,
            };
            return Ok((
                standing,
                stale(exported.values, CopySource::Postgres).collect(),
            ));
        }
        partly.ok_or(NoCopy)
    }

    /// Asks for a page of the list, in the same order of copies.
    pub(super) async fn page(&mut self, page: &PageWanted) -> Result<PageFound, NoCopy> {
        let PageWanted {
            prefix,
            cursor,
            limit,
        } = page;
        let cursor = cursor.as_deref();
        let alone = self.postgres.is_none();
        if let Some(redis) = self.redis.as_mut()
            && let Some((names, mirrored)) = redis
                .ask(async |reader| {
                    let names = reader.names(prefix, cursor, limit + 1).await?;
                    let mirrored = reader.values(&names).await?;
                    Ok((names, mirrored))
                })
                .await
            && (mirrored.complete_as_of.is_some() || alone)
        {
            let values = stale(mirrored.values, CopySource::Redis);
            // The next page begins after the last name, whether or not that has a value.
            let more = names.len() > *limit;
            let last = names.get(limit.saturating_sub(1)).filter(|_| more);
            return Ok(PageFound {
                values: values.take(*limit).flatten().collect(),
                next: last.map(CounterName::to_string),
            });
        }
        if let Some(postgres) = self.postgres.as_mut()
            && let Some(found) = postgres
                .ask(async |reader| reader.page(prefix, cursor, *limit).await)
                .await
        {
            let values = stale(found.values.into_iter().map(Some), CopySource::Postgres);
            return Ok(PageFound {
                values: values.flatten().collect(),
                next: found.next,
            });
        }
        Err(NoCopy)
    }

    /// Asks for closed days, which only the database has.
    pub(super) async fn days(&mut self, days: &DaysOf) -> Result<Vec<CopiedDay>, NoCopy> {
        let DaysOf { name, from, to } = days;
        let postgres = self.postgres.as_mut().ok_or(NoCopy)?;
        postgres
            .ask(async |reader| reader.days(name, *from, *to).await)
            .await
            .ok_or(NoCopy)
    }

    /// Closes the connections until the next question.
    pub(super) async fn rest(&mut self) {
        if let Some(CopyState::Up(reader)) = self.redis.as_mut().map(|copy| &mut copy.state) {
            reader.rest();
        }
        if let Some(CopyState::Up(reader)) = self.postgres.as_mut().map(|copy| &mut copy.state) {
            reader.rest().await;
        }
    }
}

fn stale(
    values: impl IntoIterator<Item = Option<CopiedValue>>,
    source: CopySource,
) -> impl Iterator<Item = Found> {
    let stale = move |copied| Arc::new(StaleValue { copied, source });
    values.into_iter().map(move |value| value.map(stale))
}

/// Whether a store has ever written to the copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Every copy that is configured says that none has.
    Nothing,
    /// A store has written to this one.
    Something(CopySource),
    /// This one cannot be asked, for this reason.
    Unclear(CopySource, String),
}

/// Asks every copy whether a store has ever written to it. Asked before a new store is made: the old one may only be
/// out of sight.
///
/// # Errors
/// When there are no resources for a runtime.
pub fn anything_known(options: &FallbackOptions) -> std::io::Result<Known> {
    let runtime = crate::background::runtime()?;
    let unclear = |source, error: &dyn Display| Known::Unclear(source, error.to_string());
    Ok(runtime.block_on(async {
        if let Some(redis) = options.redis.clone() {
            let timeout = PATIENCE;
            let mut reader = MirrorReader::new(MirrorOptions { timeout, ..redis });
            match reader.is_written().await {
                Ok(true) => return Known::Something(CopySource::Redis),
                Ok(false) => {}
                Err(error) => return unclear(CopySource::Redis, &error),
            }
        }
        if let Some(postgres) = options.postgres.clone() {
            let mut reader = PostgresReader::new(postgres, PATIENCE);
            match reader.is_written().await {
                Ok(true) => return Known::Something(CopySource::Postgres),
                Ok(false) => {}
                Err(error) => return unclear(CopySource::Postgres, &error),
            }
        }
        Known::Nothing
    }))
}
