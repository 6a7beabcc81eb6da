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
    CopySource, DaysOf, FallbackOptions, Found, NoCopy, Page, PageFound, StaleValue, Standing,
};
use crate::counter::{CopiedValue, CounterName};
use crate::export::postgres::{CopiedDay, PostgresError, PostgresReader};
use crate::mirror::{MirrorError, MirrorOptions, MirrorReader};

/// How long a copy may take to say whether a store has ever written to it: nobody waits for that.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a copy that failed is left alone before the next try, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// The copies, each with its state.
pub(super) struct Copies {
    redis: Option<Copy<MirrorReader>>,
    postgres: Option<Copy<PostgresReader>>,
}

/// A reader of a copy.
trait Reader: Send + Sized + 'static {
    type Error: Display + Send + 'static;

    /// Asks for nothing, to see whether it answers.
    fn look(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Whether this error says that the copy itself is away, rather than something of the question.
    fn is_away(error: &Self::Error) -> bool;
}

impl Reader for MirrorReader {
    type Error = MirrorError;

    async fn look(&mut self) -> Result<(), MirrorError> {
        self.values(&[]).await.map(drop)
    }

    fn is_away(error: &MirrorError) -> bool {
        error.is_away()
    }
}

impl Reader for PostgresReader {
    type Error = PostgresError;

    async fn look(&mut self) -> Result<(), PostgresError> {
        self.values(&[]).await.map(drop)
    }

    fn is_away(error: &PostgresError) -> bool {
        error.is_away()
    }
}

struct Copy<R> {
    state: State<R>,
    /// What was told of it last.
    told: Option<String>,
    source: CopySource,
    new: Box<dyn Fn() -> R + Send>,
}

enum State<R> {
    /// It may be asked.
    Up(R),
    /// It failed, and a task of its own tries it until it answers, so that no question waits for it.
    Down(JoinHandle<R>),
    /// It is being asked.
    Asked,
}

impl<R: Reader> Copy<R> {
    fn new(source: CopySource, new: impl Fn() -> R + Send + 'static) -> Self {
        Self {
            state: State::Up(new()),
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
        let mut reader = match std::mem::replace(&mut self.state, State::Asked) {
            State::Up(reader) => reader,
            State::Down(looking) if looking.is_finished() => {
                // One that panicked is begun anew.
                looking.await.unwrap_or_else(|_| (self.new)())
            }
            State::Down(looking) => {
                self.state = State::Down(looking);
                return None;
            }
            State::Asked => (self.new)(),
        };
        let Some(answer) = caught(question(&mut reader)).await else {
            tracing::error!(source = self.source.as_str(), "reading there panicked");
            self.state = State::Up((self.new)());
            return None;
        };
        match answer {
            Ok(answer) => {
                self.state = State::Up(reader);
                if self.told.take().is_some() {
                    let source = self.source.as_str();
                    tracing::info!(source, "values can be read there again");
                }
                Some(answer)
            }
            Err(error) => {
                self.tell(&error);
                self.state = if R::is_away(&error) {
                    State::Down(tokio::spawn(look_until_up(reader)))
                } else {
                    State::Up(reader)
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

impl<R> Drop for Copy<R> {
    fn drop(&mut self) {
        if let State::Down(looking) = &self.state {
            looking.abort();
        }
    }
}

/// Waits for it; none where it panics, as a driver might over what nobody expected in a row.
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

async fn look_until_up<R: Reader>(mut reader: R) -> R {
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        match reader.look().await {
            Err(error) if R::is_away(&error) => pause = (pause * 2).min(LONGEST_PAUSE),
            Ok(()) | Err(_) => return reader,
        }
    }
}

impl Copies {
    pub(super) fn new(options: &FallbackOptions) -> Self {
        let timeout = options.timeout;
        let redis = options.redis.clone().map(|redis| {
            Copy::new(CopySource::Redis, move || {
                let redis = redis.clone();
                MirrorReader::new(MirrorOptions { timeout, ..redis })
            })
        });
        let postgres = options.postgres.clone().map(|postgres| {
            Copy::new(CopySource::Postgres, move || {
                PostgresReader::new(postgres.clone(), timeout)
            })
        });
        Self { redis, postgres }
    }

    /// Asks for values: the mirror if it has everything, else the database, else what the mirror has.
    pub(super) async fn values(
        &mut self,
        names: &[CounterName],
    ) -> Result<(Standing, Vec<Found>), NoCopy> {
        let mut partly = None;
        if let Some(redis) = self.redis.as_mut()
            && let Some(mirrored) = redis.ask(async |reader| reader.values(names).await).await
        {
            let standing = Standing {
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
            let standing = Standing {
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

    /// Asks for a page of the list, likewise.
    pub(super) async fn page(&mut self, page: &Page) -> Result<PageFound, NoCopy> {
        let Page {
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
            // By the names, whether or not each has a value.
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

    /// Lets the connections go.
    pub(super) async fn rest(&mut self) {
        if let Some(State::Up(reader)) = self.redis.as_mut().map(|copy| &mut copy.state) {
            reader.rest();
        }
        if let Some(State::Up(reader)) = self.postgres.as_mut().map(|copy| &mut copy.state) {
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
    /// This one has something of a store.
    Something(CopySource),
    /// This one cannot be asked, for that reason.
    Unclear(CopySource, String),
}

/// Asks every copy whether a store has ever written to it: before a new store is made, where one may
/// only have been lost sight of.
///
/// # Errors
/// When there is no runtime to be had.
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
