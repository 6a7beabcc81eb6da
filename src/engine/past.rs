//! The past of a counter: its days, and the course of its value. The store is read beside the runtime,
//! so that no other call waits for the disk.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Engine, NoCopy, PastDay, Point};
use crate::calendar::Day;
use crate::counter::{CounterName, Millis};
use crate::lifecycle::{self, PeakEver, SeriesRequest};
use crate::storage::{ReadError, Tables};

/// The days of a counter, newest first.
#[derive(Serialize)]
#[serde(untagged)]
pub enum PastDays {
    /// Read from the store.
    Store(Vec<PastDay>),
    /// Read from the database, which has only closed days; each is a JSON object.
    Copy(Vec<Box<RawValue>>),
}

/// Why the past cannot be read.
#[derive(Debug)]
pub enum NoPast {
    /// There is no store, and no copy has it.
    NoCopy,
    /// The store is closed for now.
    Reopening,
    /// The store cannot be read.
    Unreadable,
    /// The server ends.
    Closing,
}

/// The range of a series.
#[derive(Clone, Copy, Debug)]
pub struct SeriesRange {
    /// The instant that lies in its last span; not after now.
    pub until: Millis,
    /// How far back from there it goes, in milliseconds.
    pub range_ms: i64,
    /// The length of a span, in milliseconds; whole minutes.
    pub step_ms: i64,
}

impl Engine {
    /// The first day that is kept.
    pub fn kept_from(&self) -> Day {
        lifecycle::kept_from(&self.running.reader.horizons)
    }

    /// Whether the store knows the name, gone or not.
    pub fn knows(&self, name: &CounterName) -> bool {
        self.running.table.read(name.as_str()).is_some()
    }

    /// Reads the days of a counter.
    ///
    /// # Errors
    /// When neither the store nor a copy can be read.
    pub async fn days(&self, name: &CounterName, from: Day, to: Day) -> Result<PastDays, NoPast> {
        if let Some(fallback) = self.copies() {
            let days = fallback.days(name, from, to).await;
            return days.map(PastDays::Copy).map_err(|NoCopy| NoPast::NoCopy);
        }
        let (name, day) = (name.clone(), Arc::clone(&self.running.day));
        let from = from.max(self.kept_from());
        self.past(move |tables| lifecycle::days_of(tables, day.calendar(), &name, from, to))
            .await
            .map(PastDays::Store)
    }

    /// Reads the highest value that a counter has had; `None` for one that never changed, and while there is no store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn peak_ever(&self, name: &CounterName) -> Result<Option<PeakEver>, NoPast> {
        if self.copies().is_some() {
            return Ok(None);
        }
        let (name, day) = (name.clone(), Arc::clone(&self.running.day));
        let today = day.look().day;
        self.past(move |tables| lifecycle::peak_ever(tables, day.calendar(), &name, today))
            .await
    }

    /// Reads the course of a counter's value, oldest first; returns also whether the counter is followed. `None` for
    /// a counter that does not count.
    ///
    /// # Errors
    /// When the store cannot be read: no copy has this.
    pub async fn series(
        &self,
        name: &CounterName,
        range: SeriesRange,
    ) -> Result<Option<(Vec<Point>, bool)>, NoPast> {
        if self.copies().is_some() {
            return Err(NoPast::NoCopy);
        }
        let Some(reading) = self.running.table.read(name.as_str()) else {
            return Ok(None);
        };
        let moment = self.moment();
        let seen = reading.seen(&moment, self.calendar());
        let Some(seen) = seen.filter(|seen| seen.over.is_none()) else {
            return Ok(None);
        };
        let request = SeriesRequest {
            value: seen.value,
            reset: reading.definition.reset,
            changed_at: reading.changed_at,
            now: moment.now.unwrap_or_else(|| self.now()),
            until: range.until,
            today: moment.today.day,
            range_ms: range.range_ms,
            step_ms: range.step_ms,
            name: reading.name,
        };
        let day = Arc::clone(&self.running.day);
        let horizons = Arc::clone(&self.running.reader.horizons);
        let series =
            self.past(move |tables| lifecycle::series(tables, day.calendar(), &horizons, &request));
        series.await.map(Some)
    }

    /// Reads from the store on a thread where waiting for a disk holds nobody up.
    async fn past<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tables) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, NoPast> {
        let reader = self.running.reader.clone();
        match tokio::task::spawn_blocking(move || reader.with(work)).await {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(ReadError::Closed)) => Err(NoPast::Reopening),
            Ok(Err(error)) => {
                tracing::error!(%error, "the past cannot be read");
                Err(NoPast::Unreadable)
            }
            Err(_) => Err(NoPast::Closing),
        }
    }
}
