//! Starting the writer, and what others share with it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::counter::{CounterName, Existence, Millis};
use crate::current_day::{self, CurrentDay, StoredTime};
use crate::storage::{
    Batch, Chores, Confirmed, DataDirLock, OpenError, Reader, SharedLog, StorageOptions, Store,
};

use super::agreement::{Wanted, judge_definition};
use super::away::Away;
use super::follow::compare_clocks;
use super::group::{Rules, bucket_at};
use super::ledger::Ledger;
use super::lookups::Memory;
use super::minutes::Minutes;
use super::options::{StartError, WriterOptions};
use super::queue::Intake;
use super::run::{Books, Handle, Links, Progress, Writer, stored_state};
use super::space::SpaceWatch;
use super::table::Table;
use super::upkeep::Upkeep;
use super::{Cause, DiskWait, Mode};

/// What to do where there is no store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// Make a new one.
    Create,
    /// That is an error, and nothing is made.
    Refuse,
}

/// What others share with the writer, and the writer once there is a store. Its clones share everything.
#[derive(Clone)]
pub struct Running {
    /// Where changes are put.
    pub intake: Arc<Intake>,
    /// What readers see.
    pub table: Arc<Table>,
    /// Whether writes are served.
    pub mode: Arc<Mode>,
    /// The one current day.
    pub day: Arc<CurrentDay>,
    /// Reads of the store for other threads.
    pub reader: Reader,
    /// Where the store is, and how it is opened.
    pub storage: StorageOptions,
    /// The counters of the configuration.
    pub configured: Arc<[CounterName]>,
    /// When all of a shared log was known last; `None` with a store of one's own.
    confirmed: Option<Arc<Confirmed>>,
    /// Whether this instance closes days and exports: one of several does.
    does_chores: Arc<AtomicBool>,
    /// How often other instances were found to have worked through days.
    done_elsewhere: Arc<AtomicU64>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Running {
    /// Opens the store, loads it, brings the counters of the configuration in, and starts the
    /// writer's thread.
    ///
    /// # Errors
    /// When the store cannot be opened or read, or contradicts the configuration.
    pub fn start(options: WriterOptions) -> Result<Self, StartError> {
        let running = Self::new(&options);
        running.open(options, Absent::Create)?;
        Ok(running)
    }

    /// Makes everything but the store and the writer. The table is empty, and requests wait in the intake.
    pub fn new(options: &WriterOptions) -> Self {
        Self {
            intake: Intake::new(options.runtimes, options.queue),
            table: Arc::default(),
            mode: Arc::new(Mode::new(DiskWait::new(options.slow_disk_after))),
            day: Arc::new(CurrentDay::new(current_day::CurrentDayOptions {
                calendar: options.calendar.clone(),
                clock: Arc::clone(&options.clock),
                max_clock_jump_ms: options.max_clock_jump_ms,
                max_away_ms: options.max_away_ms,
            })),
            reader: Reader::default(),
            storage: options.storage.clone(),
            configured: options
                .configured
                .iter()
                .map(|(name, _)| name.clone())
                .collect(),
            confirmed: options.storage.shared.as_ref().map(|address| {
                let clock = Arc::clone(&options.clock);
                Arc::new(Confirmed::new(clock, address.max_lag))
            }),
            does_chores: Arc::new(AtomicBool::new(true)),
            done_elsewhere: Arc::default(),
            writer: Arc::default(),
        }
    }

    /// Opens the store and starts the writer, which ends the cause `no_store`. After an error it may
    /// be tried again; no lock is held then.
    ///
    /// # Errors
    /// As [`Running::start`].
    pub fn open(&self, options: WriterOptions, absent: Absent) -> Result<(), StartError> {
        let writer = Writer::open(options, self, absent);
        let writer = writer.and_then(|mut writer| writer.begin().map(|()| writer));
        // No time passes for a store that is not open.
        let writer = writer.inspect_err(|_| self.day.store_closed())?;
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || {
                // A server that takes requests and answers none is worse than one that restarts:
                // everything acknowledged is on disk.
                if catch_unwind(AssertUnwindSafe(|| writer.run())).is_err() {
                    std::process::abort();
                }
            })?;
        *self.writer.lock() = Some(thread);
        // Last: now readers find the counters of the configuration, and writes find the writer.
        self.mode.clear(Cause::NoStore);
        Ok(())
    }

    /// Returns the store's epoch.
    pub fn epoch(&self) -> u64 {
        self.table.epoch()
    }

    /// Returns since when values may be older than what other instances counted; `None` while they are up to date, as they
    /// always are with a store of one's own.
    pub fn stale_since(&self) -> Option<Millis> {
        self.confirmed.as_ref()?.stale_since()
    }

    /// Whether the work beside the writer is to be done here now: writes are served, and no other instance does it.
    pub fn works(&self) -> bool {
        self.mode.refuses().is_none() && self.has_chores()
    }

    /// Whether no other instance does the work beside the writer, as far as that is known.
    pub fn has_chores(&self) -> bool {
        self.does_chores.load(Ordering::Acquire)
    }

    /// Returns a number that is another one once other instances closed, exported or let go of days. What is prepared
    /// carries the number from before it was read from the store ([`super::PreparedBatch::as_of`]).
    pub fn done_elsewhere(&self) -> u64 {
        self.done_elsewhere.load(Ordering::Acquire)
    }

    /// Takes no more requests, waits until those taken are written and answered, and closes the
    /// store.
    pub fn stop(&self) {
        self.intake.close();
        if let Some(thread) = self.writer.lock().take() {
            // A panic there ends the process, so there is no error to see.
            let _ = thread.join();
        }
    }
}

impl Writer {
    fn open(options: WriterOptions, running: &Running, absent: Absent) -> Result<Self, StartError> {
        let (storage, clock) = (options.storage, options.clock);
        let reader = running.reader.clone();
        let new_at = (absent == Absent::Create).then(|| clock.wall_ms());
        // The view of a shared log may be made in a directory that is new.
        let lock = if new_at.is_some() || storage.shared.is_some() {
            DataDirLock::take(&storage.data_dir)?
        } else {
            DataDirLock::take_existing(&storage.data_dir)?
        };
        let (store, beside_others) = match storage.shared.as_ref().zip(running.confirmed.as_ref()) {
            None => (Store::open(&lock, &storage, &reader, new_at)?, false),
            Some((address, confirmed)) => {
                let intake = Arc::downgrade(&running.intake);
                let wake = move || {
                    intake
                        .upgrade()
                        .into_iter()
                        .for_each(|intake| intake.nudge())
                };
                let mode = Arc::clone(&running.mode);
                let chores = Chores {
                    held: Arc::clone(&running.does_chores),
                    can: Arc::new(move || mode.refuses().is_none()),
                };
                let (address, confirmed) = (address.clone(), Arc::clone(confirmed));
                let wake = Arc::new(wake);
                let log = SharedLog::open(address, &lock, new_at, wake, chores, confirmed);
                let mut log = log.map_err(OpenError::from)?;
                let beside_others = log.is_any_up().map_err(OpenError::from)?;
                let store = Store::view(&lock, &storage, &reader, log);
                (store.map_err(|failed| failed.1)?, beside_others)
            }
        };
        let tables = store.tables();
        let stored = stored_state(&store)?;
        let zone = options.calendar.zone_name().to_owned();
        let stored_zone = tables.zone()?;
        let has_zone = stored_zone.is_some();
        let wanted = Wanted {
            zone: &zone,
            zone_is_written: options.zone_is_written,
            counters: &options.configured,
        };
        let changed = wanted.judge_zone(stored_zone)?;
        if let Some(stored) = &changed {
            tracing::warn!(
                from = stored,
                to = zone,
                "days were counted in another zone so far; the configuration changes it from now on"
            );
        }
        let zone_stored = has_zone && changed.is_none();
        let days = Arc::clone(&running.day);
        let slid_to = reader.horizons.windows();
        if let Some(log) = &storage.shared {
            compare_clocks(&store, log, &days);
        }
        days.begin(stored.map(|state| StoredTime {
            highest_day: state.highest_day,
            last_commit_ms: state.wall_ms,
            slid_to,
            store_ms: state.store_time,
        }));
        let of_cell = stored.filter(|_| storage.shared.is_some());
        if let Some(cell) = of_cell {
            days.at_least(cell.highest_day, cell.wall_ms);
        }
        let mut ledger = Ledger::load(tables, stored.as_ref(), &days.moment(), slid_to)?;
        ledger.configure(&options.configured);
        let mut minutes = Minutes::new(options.followed_counters);
        minutes.restart(&mut ledger, stored.map(|state| state.wall_ms));
        let bucket = bucket_at(days.store_ms());
        let memory = Memory::new(options.recent_users, days.look().day, bucket);
        Ok(Self {
            links: Links {
                days,
                mode: Arc::clone(&running.mode),
                table: Arc::clone(&running.table),
                intake: Arc::clone(&running.intake),
                done_elsewhere: Arc::clone(&running.done_elsewhere),
                metrics: options.metrics,
                clock: Arc::clone(&clock),
            },
            handle: Handle {
                space: SpaceWatch::new(&storage, options.min_free)?,
                storage,
                reader,
                store: Some(store),
                log: None,
                refused: None,
                failed: None,
                relapse: None,
            },
            books: Books {
                rules: Rules {
                    auto_create: options.auto_create,
                    max_counters: options.max_counters,
                    gone_for_ms: options.gone_for_ms,
                },
                configured: options.configured,
                ledger,
                memory,
                minutes,
                batch: Batch::new(),
            },
            progress: Progress {
                settled: false,
                upkeep: Upkeep::new(clock.boot_ms()),
                // Where others were up, nobody was away.
                away: stored.filter(|_| !beside_others).map(|stored| Away {
                    stored,
                    back_at_boot: clock.boot_ms(),
                }),
                // A writer before this one may have got as far as publishing.
                last_group: running.table.last_group(),
                cell_ms: of_cell.map_or(Millis::MIN, |cell| cell.wall_ms),
                stored_day: stored.map(|state| state.highest_day),
                zone,
                zone_stored,
                tried_since: None,
                synced: Duration::ZERO,
            },
            replies: Vec::new(),
        })
    }

    /// Publishes what is on disk and defines the counters of the configuration, before the first request.
    fn begin(&mut self) -> Result<(), StartError> {
        let look = self.observe_time();
        for (name, definition) in &self.books.configured {
            if let Some(entry) = self.books.ledger.named(name) {
                let stored = &entry.state.definition;
                // A counter whose time ended while nothing ran is gone, though that is not recorded yet.
                let over = !look.clock_fault && stored.expired_at(look.wall_ms);
                let live = entry.state.existence == Existence::Live && !over;
                if live {
                    judge_definition(name, definition, stored)?;
                }
            }
        }
        self.publish_all();
        self.watch_space(look.wall_ms);
        let mode = Arc::clone(&self.links.mode);
        let refuses = |&cause: &Cause| cause != Cause::NoStore && mode.stands(cause);
        if !Cause::ALL.iter().any(refuses) {
            self.maintain(look, true);
        }
        // What is published is from now on what the log says.
        self.follow(look);
        Ok(())
    }
}
