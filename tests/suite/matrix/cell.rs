//! A cell of the matrix: which part fails, how, and when.

use std::fmt;

/// What may happen to a copy in another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    Killed,
    /// By SIGSTOP: it accepts and never answers.
    Stopped,
    /// Each answer comes 2 s later.
    Slow,
    Refuses,
    /// It comes back with nothing.
    Emptied,
    Full,
}

/// What may happen to the disk with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    Full,
    ReadOnly,
    /// EIO for everything that is read, written or synced.
    Failing,
    /// Each sync takes 2 s longer.
    SlowSync,
    /// The data directory is renamed away, and back.
    Renamed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Postgres(Remote),
    Redis(Remote),
    Disk(Disk),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The server is started with the fault there, on a store that a kill left.
    BeforeStart,
    UnderLoad,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub fault: Fault,
    pub when: When,
}

impl Cell {
    /// The whole matrix.
    pub fn all() -> Vec<Self> {
        const REMOTE: [Remote; 6] = [
            Remote::Killed,
            Remote::Stopped,
            Remote::Slow,
            Remote::Refuses,
            Remote::Emptied,
            Remote::Full,
        ];
        const DISK: [Disk; 5] = [
            Disk::Full,
            Disk::ReadOnly,
            Disk::Failing,
            Disk::SlowSync,
            Disk::Renamed,
        ];
        let faults = REMOTE.map(Fault::Postgres).into_iter();
        let faults = faults
            .chain(REMOTE.map(Fault::Redis))
            .chain(DISK.map(Fault::Disk));
        faults
            .flat_map(|fault| [When::BeforeStart, When::UnderLoad].map(|when| Self { fault, when }))
            .collect()
    }

    /// Whether no write is taken while the fault lasts.
    pub fn stops_writes(self) -> bool {
        match self.fault {
            Fault::Postgres(_) | Fault::Redis(_) | Fault::Disk(Disk::SlowSync) => false,
            Fault::Disk(Disk::Full | Disk::ReadOnly | Disk::Failing | Disk::Renamed) => true,
        }
    }

    /// Whether it takes the server long to be there at all: opening a store syncs many times.
    pub fn is_late(self) -> bool {
        self.fault == Fault::Disk(Disk::SlowSync) && self.when == When::BeforeStart
    }

    /// Whether the store cannot stay open, or be opened again, while the fault lasts.
    pub fn closes_store(self) -> bool {
        match self.fault {
            Fault::Disk(Disk::ReadOnly | Disk::Failing | Disk::Renamed) => true,
            Fault::Postgres(_) | Fault::Redis(_) | Fault::Disk(Disk::Full | Disk::SlowSync) => {
                false
            }
        }
    }

    /// Whether the store cannot be opened at the start, so that reads are stale ones of a copy.
    pub fn is_degraded(self) -> bool {
        self.closes_store() && self.when == When::BeforeStart
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (part, fault) = match self.fault {
            Fault::Postgres(remote) => ("PostgreSQL", remote.words()),
            Fault::Redis(remote) => ("Redis", remote.words()),
            Fault::Disk(disk) => ("disk", disk.words()),
        };
        let when = match self.when {
            When::BeforeStart => "before start",
            When::UnderLoad => "under load",
        };
        write!(f, "{part} {fault}, {when}")
    }
}

impl Remote {
    fn words(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Stopped => "stopped",
            Self::Slow => "slow by 2 s",
            Self::Refuses => "refuses",
            Self::Emptied => "restarted empty",
            Self::Full => "full",
        }
    }
}

impl Disk {
    fn words(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "read-only",
            Self::Failing => "EIO",
            Self::SlowSync => "syncs slow by 2 s",
            Self::Renamed => "directory renamed away",
        }
    }
}
