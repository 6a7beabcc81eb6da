//! The copies: which one is asked, and which one is left alone after a failure.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::{
    CopySource, CopyStanding, FallbackOptions, Found, ListWanted, Listed, NoCopy, PageFound,
    StaleValue,
};
use crate::calendar::Day;
use crate::counter::{CopiedValue, CopiedValues, CounterName};
use crate::export::postgres::{PostgresError, PostgresReader};
use crate::mirror::{MirrorError, MirrorOptions, MirrorReader};
use crate::rounds::Backoff;

/// How long a copy may take to say whether a store has ever written to it. No reader waits for that.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a copy that failed is left alone before the next try, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// A reader of a copy.
enum CopyReader {
    Redis(Box<MirrorReader>),
    Postgres(Box<PostgresReader>),
}

/// Why a copy did not answer.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
enum CopyFault {
    Redis(#[from] MirrorError),
    Postgres(#[from] PostgresError),
}

impl CopyFault {
    /// Whether the copy itself is away, rather than unable to answer one question.
    fn is_away(&self) -> bool {
        match self {
            Self::Redis(error) => error.is_away(),
            Self::Postgres(error) => error.is_away(),
        }
    }
}

impl CopyReader {
    /// Makes a reader of each copy that is configured, the mirror first. Each question may take `timeout`.
    fn all(options: &FallbackOptions, timeout: Duration) -> impl Iterator<Item = Self> {
        let redis = options.redis.clone().map(|redis| {
            let options = MirrorOptions { timeout, ..redis };
            Self::Redis(Box::new(MirrorReader::new(options)))
        });
        let postgres = options.postgres.clone();
        let postgres = postgres.map(|options| Box::new(PostgresReader::new(options, timeout)));
        redis.into_iter().chain(postgres.map(Self::Postgres))
    }

    fn source(&self) -> CopySource {
        match self {
            Self::Redis(_) => CopySource::Redis,
            Self::Postgres(_) => CopySource::Postgres,
        }
    }

    async fn values(&mut self, names: &[CounterName]) -> Result<CopiedValues, CopyFault> {
        Ok(match self {
            Self::Redis(reader) => reader.values(names).await?,
            Self::Postgres(reader) => reader.values(names).await?,
        })
    }
}

/// A copy with its state.
struct AskedCopy {
    source: CopySource,
    reader: Arc<Mutex<CopyReader>>,
    /// The task that tries a copy that is away until it answers, so that no question waits for it.
    trying: Option<JoinHandle<()>>,
    /// The error that the log last told; `None` while the copy answers.
    told: Option<String>,
}

impl AskedCopy {
    fn new(reader: CopyReader) -> Self {
        Self {
            source: reader.source(),
            reader: Arc::new(Mutex::new(reader)),
            trying: None,
            told: None,
        }
    }

    /// Asks the copy; `None` where it does not answer, and while it is left alone after a failure.
    async fn ask<T>(
        &mut self,
        question: impl AsyncFnOnce(&mut CopyReader) -> Result<T, CopyFault>,
    ) -> Option<T> {
        let trying = self.trying.as_ref();
        if trying.is_some_and(|trying| !trying.is_finished()) {
            return None;
        }
        let source = self.source.as_str();
        match caught(question(&mut *self.reader.lock().await)).await {
            None => {
                tracing::error!(source, "reading the copy panicked");
                None
            }
            Some(Ok(answer)) => {
                if self.told.take().is_some() {
                    tracing::info!(source, "values can be read there again");
                }
                Some(answer)
            }
            Some(Err(fault)) => {
                if fault.is_away() {
                    self.trying = Some(tokio::spawn(try_until_up(Arc::clone(&self.reader))));
                }
                let text = fault.to_string();
                if self.told.as_ref() != Some(&text) {
                    tracing::warn!(source, error = text, "values cannot be read there");
                    self.told = Some(text);
                }
                None
            }
        }
    }

    fn stale(&self, copied: CopiedValue) -> Arc<StaleValue> {
        let source = self.source;
        Arc::new(StaleValue { copied, source })
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

async fn try_until_up(reader: Arc<Mutex<CopyReader>>) {
    let mut backoff = Backoff::default();
    loop {
        tokio::time::sleep(backoff.next(LONGEST_PAUSE)).await;
        match reader.lock().await.values(&[]).await {
            Err(fault) if fault.is_away() => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// The copies; the one that is asked first comes first.
pub(super) struct Copies(Vec<AskedCopy>);

impl Copies {
    pub(super) fn new(options: &FallbackOptions) -> Self {
        let readers = CopyReader::all(options, options.timeout);
        Self(readers.map(AskedCopy::new).collect())
    }

    /// Asks for values: the mirror if it has everything, else the database, else what the mirror has.
    pub(super) async fn values(
        &mut self,
        names: &[CounterName],
    ) -> Result<(CopyStanding, Vec<Found>), NoCopy> {
        let mut partly = Err(NoCopy);
        for copy in &mut self.0 {
            let asked = copy.ask(async |reader| reader.values(names).await).await;
            let Some(CopiedValues { as_of, values }) = asked else {
                continue;
            };
            let source = copy.source;
            let values = values.into_iter();
            let found: Vec<Found> = values.map(|value| Some(copy.stale(value?))).collect();
            let has_any = found.iter().any(Option::is_some);
            let answer = (CopyStanding { source, as_of }, found);
            if as_of.is_some() || source == CopySource::Postgres {
                return Ok(answer);
            }
            // An emptied mirror that has none of the names is skipped: ask PostgreSQL.
            if has_any {
                partly = Ok(answer);
            }
        }
        partly
    }

    /// Asks for a page or for closed days.
    pub(super) async fn list(&mut self, wanted: &ListWanted) -> Result<Listed, NoCopy> {
        let listed = match wanted {
            ListWanted::Page {
                prefix,
                cursor,
                limit,
            } => self.page(prefix, cursor.as_deref(), *limit).await,
            ListWanted::Days { name, from, to } => self.days(name, *from, *to).await,
        };
        listed.ok_or(NoCopy)
    }

    /// Asks the mirror if it has everything, else the database. Where there is none, a part will do.
    async fn page(&mut self, prefix: &str, cursor: Option<&str>, limit: usize) -> Option<Listed> {
        let is_alone = self.0.len() == 1;
        for copy in &mut self.0 {
            let question = async |reader: &mut CopyReader| {
                Ok(match reader {
                    CopyReader::Redis(reader) => reader.page(prefix, cursor, limit).await?,
                    CopyReader::Postgres(reader) => reader.page(prefix, cursor, limit).await?,
                })
            };
            let Some(page) = copy.ask(question).await else {
                continue;
            };
            if page.as_of.is_some() || is_alone || copy.source == CopySource::Postgres {
                let values = page.values.into_iter();
                return Some(Listed::Page(PageFound {
                    values: values.map(|value| copy.stale(value)).collect(),
                    next: page.next,
                }));
            }
        }
        None
    }

    /// Asks the database: only it has closed days.
    async fn days(&mut self, name: &CounterName, from: Day, to: Day) -> Option<Listed> {
        let mut copies = self.0.iter_mut();
        let postgres = copies.find(|copy| copy.source == CopySource::Postgres)?;
        let question = async |reader: &mut CopyReader| match reader {
            CopyReader::Redis(_) => Ok(Vec::new()),
            CopyReader::Postgres(reader) => Ok(reader.days(name, from, to).await?),
        };
        Some(Listed::Days(postgres.ask(question).await?))
    }

    /// Closes the connections until the next question.
    pub(super) async fn rest(&mut self) {
        for copy in &self.0 {
            // One that is being tried has no connection, or needs it.
            match copy.reader.try_lock().as_deref_mut() {
                Ok(CopyReader::Redis(reader)) => reader.rest(),
                Ok(CopyReader::Postgres(reader)) => reader.rest().await,
                Err(_) => {}
            }
        }
    }
}

/// What speaks against a new store where there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Against {
    /// A store has written to this copy.
    #[error("{} has values of one", .0.as_str())]
    Known(CopySource),
    /// This copy cannot be asked, for this reason.
    #[error("whether {} has values of one cannot be told ({})", .0.as_str(), .1)]
    Unclear(CopySource, String),
}

/// Asks every copy whether a store has ever written to it. Asked before a new store is made: the old one may only be
/// out of sight. Returns `None` when none has.
///
/// # Errors
/// When there are no resources for a runtime.
pub fn against_a_new_store(options: &FallbackOptions) -> std::io::Result<Option<Against>> {
    Ok(crate::background::runtime()?.block_on(async {
        for mut reader in CopyReader::all(options, PATIENCE) {
            let written = match &mut reader {
                CopyReader::Redis(reader) => reader.is_written().await.map_err(CopyFault::from),
                CopyReader::Postgres(reader) => reader.is_written().await.map_err(CopyFault::from),
            };
            match written {
                Ok(true) => return Some(Against::Known(reader.source())),
                Ok(false) => {}
                Err(fault) => return Some(Against::Unclear(reader.source(), fault.to_string())),
            }
        }
        None
    }))
}
