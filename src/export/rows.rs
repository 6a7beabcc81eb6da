//! What is exported: the days of counters, and the users of a day, in pages.

use anyhow::{anyhow, ensure};

use crate::calendar::Day;
use crate::counter::{CounterName, Generation, Kind, Reset};
use crate::lifecycle::{self, PastDay, kept_from};
use crate::storage::{Cursor, ReadError, Reader, Tables};
use crate::writer::Running;

/// Counters read for one page, and rows after which a page is full.
const COUNTERS_AT_ONCE: usize = 256;
const ROWS_AT_ONCE: usize = 256;

/// Users read in one page.
const USERS_AT_ONCE: usize = 5000;

/// Which days of which counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The first day.
    pub from: Day,
    /// The last day, included.
    pub to: Day,
    /// One counter alone.
    pub counter: Option<CounterName>,
    /// Whether days that are not closed yet are included.
    pub include_open: bool,
}

impl Selection {
    /// Reads days as people write them, when `today` is the current day. Of several days, those that have not
    /// ended are left out, unless `include_open` is set.
    ///
    /// # Errors
    /// When a text is not a day, the first day is after the last, or none of the days is over: a sentence that says so.
    pub fn new(
        from: &str,
        to: &str,
        today: Day,
        counter: Option<CounterName>,
        include_open: bool,
    ) -> anyhow::Result<Self> {
        let day = |text: &str| match text {
            "yesterday" => Ok(today.previous()),
            "today" => Ok(today),
            _ => text.parse().map_err(|_| {
                anyhow!("{text:?} is not a day: want YYYY-MM-DD, `yesterday` or `today`")
            }),
        };
        let (from, to) = (day(from)?, day(to)?);
        ensure!(from <= to, "the first day, {from}, is after the last, {to}");
        ensure!(
            from < today || include_open,
            "{from} has not ended yet; `--include-open` exports what it has so far, to a file"
        );
        let over = today.previous();
        Ok(Self {
            from,
            to: if include_open { to } else { to.min(over) },
            counter,
            include_open,
        })
    }
}

/// A day of a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The counter.
    pub name: CounterName,
    /// Its day.
    pub past: PastDay,
}

impl Row {
    /// Returns the users of the day in its last generation, so that they agree with the final value; `None` for a
    /// counter whose users belong to no day.
    pub fn users(&self) -> Option<UserPages> {
        let content = self.past.content.as_ref()?;
        let of_the_day = content.kind == Kind::Unique && content.reset == Reset::Daily;
        of_the_day.then_some(UserPages {
            day: self.past.day,
            generation: content.record.generation,
            next: None,
            done: false,
        })
    }
}

/// The rows of a selection, page by page, in the order of counters, then days.
pub struct RowPages {
    selection: Selection,
    /// The counter after which it goes on.
    after: Option<CounterName>,
    done: bool,
}

impl RowPages {
    /// Begins at the first row.
    pub fn new(selection: Selection) -> Self {
        Self {
            selection,
            after: None,
            done: false,
        }
    }

    /// Returns the next page; `None` after the last.
    ///
    /// # Errors
    /// When the store cannot be read; asking again goes on where it was.
    pub fn next(&mut self, running: &Running) -> Result<Option<Vec<Row>>, ReadError> {
        if self.done {
            return Ok(None);
        }
        let (rows, last) = running.reader.with(|tables| self.page(tables, running))?;
        self.done = last.is_none();
        self.after = last;
        Ok(Some(rows))
    }

    /// Returns some rows, and the counter after which there are more.
    fn page(
        &self,
        tables: &Tables,
        running: &Running,
    ) -> Result<(Vec<Row>, Option<CounterName>), ReadError> {
        let from = self.selection.from.max(kept_from(&running.reader.horizons));
        let to = match tables.closed_through()? {
            _ if self.selection.include_open => self.selection.to,
            Some(closed) => self.selection.to.min(closed),
            None => return Ok((Vec::new(), None)),
        };
        let mut rows = Vec::new();
        let mut after = self.after.clone();
        for _ in 0..COUNTERS_AT_ONCE {
            let Some(name) = self.next_name(tables, after.as_ref())? else {
                return Ok((rows, None));
            };
            let days = lifecycle::days_of(tables, running.day.calendar(), &name, from, to)?;
            rows.extend(days.into_iter().rev().map(|past| Row {
                name: name.clone(),
                past,
            }));
            after = Some(name);
            if rows.len() >= ROWS_AT_ONCE {
                break;
            }
        }
        Ok((rows, after))
    }

    /// Returns the next counter that may have any day.
    fn next_name(
        &self,
        tables: &Tables,
        after: Option<&CounterName>,
    ) -> Result<Option<CounterName>, ReadError> {
        if let Some(only) = &self.selection.counter {
            return Ok(after.is_none().then(|| only.clone()));
        }
        let closed = tables.next_in_history(after)?;
        if !self.selection.include_open {
            return Ok(closed);
        }
        // A counter may have no day but an open one.
        let defined = tables.next_defined(after)?;
        // In the order of the store: shorter names first.
        let order = |name: &CounterName| (name.as_str().len(), name.clone());
        Ok(closed.into_iter().chain(defined).min_by_key(order))
    }
}

/// The users of a day, page by page, in the order of their ids.
pub struct UserPages {
    day: Day,
    generation: Generation,
    next: Option<Cursor>,
    done: bool,
}

impl UserPages {
    /// Returns the next users; `None` after the last.
    ///
    /// # Errors
    /// When the store cannot be read; asking again goes on where it was.
    pub fn next(&mut self, reader: &Reader) -> Result<Option<Vec<String>>, ReadError> {
        if self.done {
            return Ok(None);
        }
        let (ids, more) = reader.with(|tables| {
            let from = self.next.as_ref();
            tables.users(Some(self.day), self.generation, from, USERS_AT_ONCE)
        })?;
        let users = ids
            .iter()
            .map(|id| String::from_utf8_lossy(id).into_owned());
        let users = users.collect();
        self.done = more.is_none();
        self.next = more;
        Ok(Some(users))
    }
}
