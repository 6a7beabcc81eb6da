//! The parts that fail: a PostgreSQL, a Redis and a disk of the cell's own, and a server on all three;
//! how each fault strikes and how it is mended.

use std::path::PathBuf;
use std::time::Duration;

use crate::harness::{Database, PATIENCE, Redis, Setup, SlowProxy, SmallDisk, eventually};

use super::cell::{Cell, Disk, Fault, Remote};
use super::faulty_disk::FaultyDisk;

/// What a slow part takes longer.
const SLOW: Duration = Duration::from_secs(2);

/// The role of the server, so that a refusal is not one of the test.
const ROLE: &str = "counterd";

/// Everything that a cell needs. Fields are dropped in this order.
pub struct Parts {
    pub setup: Setup,
    pub database: Database,
    pub redis: Redis,
    before_database: Option<SlowProxy>,
    before_redis: Option<SlowProxy>,
    faulty: Option<FaultyDisk>,
    disk: Option<SmallDisk>,
    _home: tempfile::TempDir,
}

impl Parts {
    /// Starts them; else why that cannot be done here.
    pub fn of(cell: Cell) -> Result<Self, String> {
        let home = tempfile::tempdir().unwrap();
        let mut disk = None;
        let database = if cell.fault == Fault::Postgres(Remote::Full) {
            let small = disk.insert(SmallDisk::new(300)?);
            Database::within(tempfile::tempdir().unwrap(), small.path().join("pg"))?
        } else {
            Database::new()?
        };
        database.sql(&make_role());
        if cell.fault == Fault::Postgres(Remote::Emptied) {
            database.prepare_anew()?;
        }
        let redis = Redis::new()?;
        let mut setup = Setup::new(home.path())
            .set("push.interval", "20ms")
            .set("postgres.interval", "100ms")
            .set("postgres.timeout", "1s")
            .set("redis.mirror", "true")
            .set("redis.timeout", "1s");
        if cell.is_degraded() {
            setup = setup.set("degraded.start", "true");
        }
        let (mut before_database, mut before_redis, mut faulty) = (None, None, None);
        let mut ports = (database.port(), redis.port());
        match cell.fault {
            Fault::Postgres(Remote::Slow) => {
                let proxy = before_database.insert(SlowProxy::before(ports.0));
                ports.0 = proxy.port();
            }
            Fault::Redis(Remote::Slow) => {
                let proxy = before_redis.insert(SlowProxy::before(ports.1));
                ports.1 = proxy.port();
            }
            Fault::Postgres(_) | Fault::Redis(_) | Fault::Disk(Disk::Renamed) => {}
            Fault::Disk(Disk::Full | Disk::ReadOnly | Disk::Failing | Disk::SlowSync) => {
                let small = disk.insert(SmallDisk::new(300)?);
                let data = small.path().join("data");
                let made = FaultyDisk::of(setup, home.path(), &small.path())?;
                setup = made.0.data_dir(&data).set("storage.min_free", "8MiB");
                faulty = Some(made.1);
            }
        }
        setup = setup
            .set("postgres.url", &database.url_through(ROLE, ports.0))
            .set("redis.url", &redis.url_through(ports.1));
        Ok(Self {
            setup,
            database,
            redis,
            before_database,
            before_redis,
            faulty,
            disk,
            _home: home,
        })
    }

    /// From now on it is so.
    pub fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Postgres(Remote::Killed | Remote::Emptied) => self.database.crash(),
            Fault::Postgres(Remote::Stopped) => self.database.pause(),
            Fault::Postgres(Remote::Slow) => self.before_database().slow_down(SLOW),
            Fault::Postgres(Remote::Refuses) => self.database.refuse(ROLE),
            Fault::Postgres(Remote::Full) => self.fill_database(),
            Fault::Redis(Remote::Killed) => {
                // What it has then is old.
                self.redis.save();
                self.redis.kill();
            }
            Fault::Redis(Remote::Emptied) => {
                self.redis.forget_saved();
                self.redis.kill();
            }
            Fault::Redis(Remote::Stopped) => self.redis.pause(),
            Fault::Redis(Remote::Slow) => self.before_redis().slow_down(SLOW),
            Fault::Redis(Remote::Refuses) => self.redis.refuse(),
            Fault::Redis(Remote::Full) => self.redis.say("CONFIG SET maxmemory 1"),
            Fault::Disk(Disk::Full) => self.disk().fill(0),
            Fault::Disk(Disk::ReadOnly) => self.make_read_only(),
            Fault::Disk(Disk::Failing) => self.faulty().fail(),
            Fault::Disk(Disk::SlowSync) => {
                let ms = i32::try_from(SLOW.as_millis()).unwrap();
                self.faulty().sync_slowly(ms);
            }
            Fault::Disk(Disk::Renamed) => {
                std::fs::rename(self.setup.data(), self.elsewhere()).unwrap();
            }
        }
    }

    /// From now on it is well again.
    pub fn mend(&mut self, fault: Fault) {
        match fault {
            Fault::Postgres(Remote::Killed) => self.database.start(),
            Fault::Postgres(Remote::Emptied) => {
                self.database.start_anew(&make_role());
            }
            Fault::Postgres(Remote::Stopped) => self.database.resume(),
            Fault::Postgres(Remote::Slow) => self.before_database().hurry(),
            Fault::Postgres(Remote::Refuses) => self.database.admit(),
            Fault::Postgres(Remote::Full) => {
                self.disk().empty();
                self.database.revive();
            }
            Fault::Redis(Remote::Killed | Remote::Emptied) => self.redis.start(),
            Fault::Redis(Remote::Stopped) => self.redis.resume(),
            Fault::Redis(Remote::Slow) => self.before_redis().hurry(),
            Fault::Redis(Remote::Refuses) => self.redis.admit(),
            Fault::Redis(Remote::Full) => self.redis.say("CONFIG SET maxmemory 0"),
            Fault::Disk(Disk::Full) => self.disk().empty(),
            Fault::Disk(Disk::ReadOnly) => self.disk().remount("rw").unwrap(),
            Fault::Disk(Disk::Failing | Disk::SlowSync) => self.faulty().mend(),
            Fault::Disk(Disk::Renamed) => {
                std::fs::rename(self.elsewhere(), self.setup.data()).unwrap();
            }
        }
    }

    /// Whether what the preload was to do was done: else nothing is shown.
    pub fn has_struck(&self) -> bool {
        self.faulty
            .as_ref()
            .is_none_or(|faulty| faulty.struck() > 0)
    }

    /// Full is full: PostgreSQL finds no room for its log, and ends or goes on as it likes.
    fn fill_database(&mut self) {
        self.disk().fill(0);
        eventually("PostgreSQL has no room", PATIENCE, || {
            let asked = self
                .database
                .try_sql("SELECT pg_logical_emit_message(false, '', repeat('x', 9000000))");
            (asked.is_err() || self.database.has_ended()).then_some(())
        });
    }

    /// The kernel makes no disk read-only while somebody writes to it, as an error of its own would: so
    /// the first write is refused by the preload, and the disk really becomes it as soon as the server
    /// has let go of its files.
    fn make_read_only(&self) {
        self.faulty().refuse_writes(libc::EROFS);
        eventually("nobody writes to the disk", PATIENCE, || {
            self.disk().remount("ro").ok()
        });
        self.faulty().mend();
    }

    fn elsewhere(&self) -> PathBuf {
        self.setup.data().with_file_name("elsewhere")
    }

    fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().unwrap()
    }

    fn faulty(&self) -> &FaultyDisk {
        self.faulty.as_ref().unwrap()
    }

    fn before_database(&self) -> &SlowProxy {
        self.before_database.as_ref().unwrap()
    }

    fn before_redis(&self) -> &SlowProxy {
        self.before_redis.as_ref().unwrap()
    }
}

fn make_role() -> String {
    format!(
        "CREATE ROLE {ROLE} LOGIN SUPERUSER PASSWORD '{}'",
        crate::harness::PASSWORD
    )
}
