//! The copies: which one is asked, and which one is let be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{DaysOf, FallbackOptions, Found, NoCopy, Page, Source, StaleValue, Standing};
use crate::counter::{CopiedValue, CounterName};
use crate::export::postgres::{CopiedDay, PostgresReader};
use crate::mirror::{MirrorOptions, MirrorReader};

/// How long a copy may take to say whether a store has ever written to it: nobody waits for that.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a copy that failed is let be, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// The copies and how they stand.
pub(super) struct Copies {
    redis: Option<Copy<MirrorReader>>,
    postgres: Option<Copy<PostgresReader>>,
}

struct Copy<Reader> {
    reader: Reader,
    /// It failed then, and is let be for so long: longer after each failure in a row.
    failed: Option<(Instant, Duration)>,
    /// What was told of it last.
    told: Option<String>,
    source: Source,
}

impl<Reader> Copy<Reader> {
    fn new(reader: Reader, source: Source) -> Self {
        Self {
            reader,
            failed: None,
            told: None,
            source,
        }
    }

    /// Asks, unless it is let be.
    async fn ask<T, E: std::fmt::Display>(
        &mut self,
        question: impl AsyncFnOnce(&mut Reader) -> Result<T, E>,
    ) -> Option<T> {
        let is_let_be = |(at, pause): (Instant, Duration)| at.elapsed() < pause;
        if self.failed.is_some_and(is_let_be) {
            return None;
        }
        let answer = question(&mut self.reader).await;
        self.note(answer)
    }

    /// Notes how a question went; its answer, if there is one.
    fn note<T, E: std::fmt::Display>(&mut self, answer: Result<T, E>) -> Option<T> {
        let source = self.source.as_str();
        match answer {
            Ok(answer) => {
                self.failed = None;
                if self.told.take().is_some() {
                    tracing::info!(source, "values can be read there again");
                }
                Some(answer)
            }
            Err(error) => {
                let longer = self.failed.map_or(FIRST_PAUSE, |(_, pause)| pause * 2);
                self.failed = Some((Instant::now(), longer.min(LONGEST_PAUSE)));
                let error = error.to_string();
                if self.told.as_ref() != Some(&error) {
                    tracing::warn!(source, error, "values cannot be read there");
                    self.told = Some(error);
                }
                None
            }
        }
    }
}

impl Copies {
    pub(super) fn new(options: &FallbackOptions) -> Self {
        let redis = options.redis.clone().map(|redis| MirrorOptions {
            timeout: options.timeout,
            ..redis
        });
        let postgres = options.postgres.clone();
        Self {
            redis: redis.map(|redis| Copy::new(MirrorReader::new(redis), Source::Redis)),
            postgres: postgres.map(|postgres| {
                let reader = PostgresReader::new(postgres, options.timeout);
                Copy::new(reader, Source::Postgres)
            }),
        }
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
                source: Source::Redis,
                as_of: mirrored.complete_as_of,
            };
            let found = stale(mirrored.values, Source::Redis);
            if standing.as_of.is_some() {
                return Ok((standing, found));
            }
            partly = Some((standing, found));
        }
        if let Some(postgres) = self.postgres.as_mut()
            && let Some(exported) = postgres
                .ask(async |reader| reader.values(names).await)
                .await
        {
            let standing = Standing {
                source: Source::Postgres,
                as_of: exported.as_of,
            };
            return Ok((standing, stale(exported.values, Source::Postgres)));
        }
        partly.ok_or(NoCopy)
    }

    /// Asks for a page of the list, likewise.
    pub(super) async fn page(&mut self, page: &Page) -> Result<Vec<Arc<StaleValue>>, NoCopy> {
        let Page {
            prefix,
            cursor,
            limit,
        } = page;
        let cursor = cursor.as_deref();
        let alone = self.postgres.is_none();
        if let Some(redis) = self.redis.as_mut()
            && let Some(mirrored) = redis
                .ask(async |reader| {
                    let names = reader.names(prefix, cursor, *limit).await?;
                    reader.values(&names).await
                })
                .await
            && (mirrored.complete_as_of.is_some() || alone)
        {
            let found = stale(mirrored.values, Source::Redis);
            return Ok(found.into_iter().flatten().collect());
        }
        if let Some(postgres) = self.postgres.as_mut()
            && let Some(values) = postgres
                .ask(async |reader| reader.page(prefix, cursor, *limit).await)
                .await
        {
            let found = stale(values.into_iter().map(Some), Source::Postgres);
            return Ok(found.into_iter().flatten().collect());
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
        if let Some(redis) = &mut self.redis {
            redis.reader.rest();
        }
        if let Some(postgres) = &mut self.postgres {
            postgres.reader.rest().await;
        }
    }
}

fn stale(values: impl IntoIterator<Item = Option<CopiedValue>>, source: Source) -> Vec<Found> {
    let stale = |copied| Arc::new(StaleValue { copied, source });
    values.into_iter().map(|value| value.map(stale)).collect()
}

/// Whether a store has ever written to the copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Every copy that is configured says that none has.
    Nothing,
    /// This one has something of a store.
    Something(Source),
    /// This one cannot be asked, for that reason.
    Unclear(Source, String),
}

/// Asks every copy whether a store has ever written to it: before a new store is made, where one may
/// only have been lost sight of.
pub fn anything_known(options: &FallbackOptions) -> std::io::Result<Known> {
    let runtime = crate::background::runtime()?;
    let unclear = |source, error: &dyn std::fmt::Display| Known::Unclear(source, error.to_string());
    Ok(runtime.block_on(async {
        if let Some(redis) = options.redis.clone() {
            let timeout = PATIENCE;
            let mut reader = MirrorReader::new(MirrorOptions { timeout, ..redis });
            match reader.is_written().await {
                Ok(true) => return Known::Something(Source::Redis),
                Ok(false) => {}
                Err(error) => return unclear(Source::Redis, &error),
            }
        }
        if let Some(postgres) = options.postgres.clone() {
            let mut reader = PostgresReader::new(postgres, PATIENCE);
            match reader.is_written().await {
                Ok(true) => return Known::Something(Source::Postgres),
                Ok(false) => {}
                Err(error) => return unclear(Source::Postgres, &error),
            }
        }
        Known::Nothing
    }))
}
