//! Starting the writer, and what others share with it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::current_day::{self, CurrentDay};
use crate::storage::expiry::Horizons;
use crate::storage::schema::META_ZONE;
use crate::storage::{Batch, DataDirLock, Family, Reader, StorageOptions, Store};

use super::Mode;
use super::away::Away;
use super::group::Rules;
use super::ledger::{Ledger, Life};
use super::lookups::Memory;
use super::minutes::Minutes;
use super::options::{StartError, WriterOptions};
use super::queue::Intake;
use super::record::StoreTime;
use super::run::{Writer, stored_state};
use super::space::SpaceWatch;
use super::table::Table;
use super::upkeep::Upkeep;

/// A running writer and what others share with it.
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
    /// What compaction may drop, and what it did.
    pub horizons: Arc<Horizons>,
    /// Where the store is, and how it is opened.
    pub storage: StorageOptions,
    thread: JoinHandle<()>,
}

impl Running {
    /// Opens the store, loads it, brings the counters of the configuration in, and starts the
    /// writer's thread.
    ///
    /// # Errors
    /// When the store cannot be opened or read, or contradicts the configuration.
    pub fn start(options: WriterOptions) -> Result<Self, StartError> {
        let (runtimes, queue) = (options.runtimes, options.queue);
        let intake = Intake::new(runtimes, queue);
        let storage = options.storage.clone();
        let mut writer = Writer::open(options, Arc::clone(&intake))?;
        writer.begin()?;
        let table = Arc::clone(&writer.table);
        let mode = Arc::clone(&writer.mode);
        let day = Arc::clone(&writer.days);
        let horizons = Arc::clone(&writer.horizons);
        let reader = writer.reader.clone();
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || {
                // A server that takes requests and answers none is worse than one that restarts:
                // everything acknowledged is on disk.
                if catch_unwind(AssertUnwindSafe(|| writer.run())).is_err() {
                    std::process::abort();
                }
            })?;
        Ok(Self {
            intake,
            table,
            mode,
            day,
            reader,
            horizons,
            storage,
            thread,
        })
    }

    /// The store's epoch.
    pub fn epoch(&self) -> u64 {
        self.table.epoch()
    }

    /// Takes no more requests, waits until those taken are written and answered, and closes the
    /// store.
    pub fn stop(self) {
        self.intake.close();
        // It ends the process rather than panic.
        let _ = self.thread.join();
    }
}

impl Writer {
    pub(super) fn open(options: WriterOptions, intake: Arc<Intake>) -> Result<Self, StartError> {
        let WriterOptions {
            storage,
            clock,
            calendar,
            zone_is_written,
            max_clock_jump_ms,
            max_away_ms,
            auto_create,
            max_counters,
            gone_for_ms,
            configured,
            recent_users,
            min_free,
            followed_counters,
            runtimes: _,
            queue: _,
            metrics,
        } = options;
        let horizons = Arc::new(Horizons::default());
        let reader = Reader::default();
        let lock = DataDirLock::take(&storage.data_dir)?;
        let store = Store::open(&lock, &storage, &horizons, &reader, clock.wall_ms())?;
        let tables = store.tables();
        let stored = stored_state(&store)?;
        let zone = calendar.zone_name().to_owned();
        let stored_zone = tables.get(Family::Meta, META_ZONE)?;
        let stored_zone = stored_zone.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        if let Some(stored) = &stored_zone
            && *stored != zone
            && !zone_is_written
        {
            return Err(StartError::ZoneChanged {
                stored: stored.clone(),
                found: zone,
            });
        }
        let ledger = Ledger::load(tables, stored.as_ref())?;
        let days = CurrentDay::new(current_day::Options {
            calendar,
            clock: Arc::clone(&clock),
            highest_stored: stored.map(|state| state.highest_day),
            last_commit_ms: stored.map(|state| state.wall_ms),
            max_clock_jump_ms,
            max_away_ms,
        });
        let store_time = StoreTime {
            before: stored.map_or(0, |state| state.store_time),
            boot_at_open: clock.boot_ms(),
        };
        let bucket = store_time.bucket(clock.boot_ms());
        let memory = Memory::new(recent_users, days.look().day.days(), bucket);
        let space = SpaceWatch::new(&storage, min_free)?;
        Ok(Self {
            storage,
            days: Arc::new(days),
            mode: Arc::default(),
            table: Arc::default(),
            intake,
            reader,
            horizons,
            metrics,
            rules: Rules {
                auto_create,
                max_counters,
                gone_for_ms,
            },
            configured,
            settled: false,
            store: Some(store),
            failed: None,
            ledger,
            memory,
            space,
            upkeep: Upkeep::new(clock.boot_ms()),
            minutes: Minutes::new(followed_counters),
            away: stored.map(|state| Away {
                day: state.highest_day,
                since: state.wall_ms,
                back_at_boot: clock.boot_ms(),
            }),
            last_group: 0,
            stored_day: stored.map(|state| state.highest_day),
            zone_stored: stored_zone.as_ref() == Some(&zone),
            zone,
            store_time,
            day_start: (None, 0),
            batch: Batch::new(),
            replies: Vec::new(),
            clock,
        })
    }

    /// What happens before the first request: publish what is on disk, and bring the counters of
    /// the configuration in.
    pub(super) fn begin(&mut self) -> Result<(), StartError> {
        let look = self.look();
        self.ledger.configure(&self.configured);
        let last_commit = self.away.map(|away| away.since);
        self.minutes.restart(&mut self.ledger, last_commit);
        for (name, definition) in &self.configured {
            if let Some(entry) = self.ledger.find(name).and_then(|i| self.ledger.entry(i)) {
                let stored = &entry.state.definition;
                // One whose time was over while nothing ran is gone, though not yet recorded.
                let over = !look.clock_fault && stored.expired_at(look.wall_ms);
                let live = entry.state.life == Life::Live && !over;
                if live && !stored.may_become(definition) {
                    return Err(StartError::DefinitionConflict {
                        name: name.clone(),
                        wanted: (definition.kind, definition.reset),
                        stored: (stored.kind, stored.reset),
                    });
                }
            }
        }
        self.publish_all();
        self.watch_space(look.wall_ms);
        if self.mode.refuses().is_none() {
            self.maintain(look, true);
        }
        Ok(())
    }
}
