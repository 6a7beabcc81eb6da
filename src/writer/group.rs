//! One commit group: what it changes, and what it needs to know.
//!
//! The group remembers what it changed, so that one batch writes it all.

use std::collections::{HashMap, HashSet};

use crate::calendar::{Day, LocalDay};
use crate::counter::{
    CounterName, DayRecord, Event, Generation, Lapse, Millis, Moment, Outcome, Refusal, Seat,
    TimeLine, UserId,
};
use crate::current_day::Look;
use crate::invariant::Broken;
use crate::storage::{Bucket, ReadError, Undecodable};

use super::ledger::{Index, Ledger};
use super::minutes::MinuteRecords;
use super::secret_hash::SecretHash;

/// A span of store time in which idempotency records share a bucket.
const BUCKET_MS: i64 = 24 * 3_600_000;

/// Returns the bucket of the idempotency keys that come at that store time.
pub(super) fn bucket_at(store_ms: i64) -> Bucket {
    Bucket::try_from(store_ms.div_euclid(BUCKET_MS)).unwrap_or(Bucket::MAX)
}

/// Looks up what is on disk and not in the ledger.
pub(super) trait Lookups {
    /// Whether a user was counted before this group.
    fn counted(
        &mut self,
        period: Option<Day>,
        generation: Generation,
        user: &str,
    ) -> Result<bool, ReadError>;

    /// A user's seat as of before this group, which may be over; `None` for one who has none.
    fn seat(
        &mut self,
        generation: Generation,
        user: &str,
    ) -> Result<Result<Option<Seat>, Undecodable>, ReadError>;

    /// Follows the seats of these generations, and of no others, as of a moment.
    fn follow_seats(
        &mut self,
        counters: &mut dyn Iterator<Item = (Generation, Lapse)>,
        moment: &Moment,
    );

    /// What is kept under an idempotency key from before this group: its fingerprint and outcome.
    fn kept(&mut self, key: &str) -> Result<KeptAnswer, ReadError>;

    /// The record of a counter's day from before this group.
    fn day_record(
        &mut self,
        day: Day,
        counter: &CounterName,
    ) -> Result<Option<DayRecord>, ReadError>;
}

/// What is kept under an idempotency key.
pub(super) enum KeptAnswer {
    /// Nothing.
    Nothing,
    /// An answer.
    Outcome { fingerprint: u128, outcome: Outcome },
    /// A record that cannot be read.
    Corrupt,
}

/// What the configuration says about counters.
pub(super) struct Rules {
    /// Whether a first increment creates.
    pub(super) auto_create: bool,
    /// Quota of live counters.
    pub(super) max_counters: u64,
    /// How long a gone counter answers 410, in milliseconds.
    pub(super) gone_for_ms: i64,
}

/// A user who got a seat, or another one, or was taken out.
pub(super) struct Sight {
    pub(super) generation: Generation,
    /// In which time the seat counts.
    pub(super) time_line: TimeLine,
    pub(super) user: UserId,
    /// The seat from now on; `None` for one who was taken out.
    pub(super) seat: Option<Seat>,
    /// What the group knew before: nothing, or what an earlier sight in it left.
    pub(super) before: Option<Option<Seat>>,
}

/// One commit group.
pub(super) struct Group {
    /// Its serial number.
    pub(super) number: u64,
    /// The local day of everything in it.
    pub(super) today: LocalDay,
    /// The time of everything in it.
    pub(super) now: Millis,
    /// The time that windows have slid to.
    pub(super) latest: Millis,
    /// Store time, in which leases run.
    pub(super) store_ms: Millis,
    /// The bucket of the idempotency keys in it.
    pub(super) bucket: Bucket,
    /// Counters it looked at for a change, each once.
    pub(super) touched: Vec<Index>,
    /// Users it counts for the first time, in order.
    pub(super) users: Vec<(Option<Day>, Generation, UserId)>,
    pub(super) user_set: HashMap<Generation, HashSet<UserId, SecretHash>>,
    /// Fingerprints and outcomes kept under keys.
    pub(super) kept: HashMap<Box<str>, (u128, Outcome)>,
    /// Users whose seats it changed, in order, and these seats.
    pub(super) sights: Vec<Sight>,
    pub(super) seats: HashMap<Generation, HashMap<UserId, Option<Seat>, SecretHash>>,
    /// Events of day records, with their index in the day.
    pub(super) events: Vec<(Index, u8, Event)>,
    /// Generations whose users are to be deleted from now on.
    pub(super) ended: Vec<Generation>,
    /// Names to take out once the group is on disk.
    pub(super) forgotten: Vec<Index>,
    /// What the minute that ended leaves.
    pub(super) minutes: MinuteRecords,
    /// Increments and decrements that counted.
    pub(super) counted: u64,
    /// Batches so far.
    pub(super) batches: u64,
}

impl Group {
    pub(super) fn new(number: u64, look: &Look, today: LocalDay, store_ms: Millis) -> Self {
        Self {
            number,
            today,
            now: look.wall_ms,
            latest: look.latest_ms,
            store_ms,
            bucket: bucket_at(store_ms),
            touched: Vec::new(),
            users: Vec::new(),
            user_set: HashMap::new(),
            kept: HashMap::new(),
            sights: Vec::new(),
            seats: HashMap::new(),
            events: Vec::new(),
            ended: Vec::new(),
            forgotten: Vec::new(),
            minutes: MinuteRecords::default(),
            counted: 0,
            batches: 0,
        }
    }

    /// Returns the moment of everything in it.
    pub(super) fn moment(&self) -> Moment {
        Moment {
            today: self.today,
            now: Some(self.now),
            latest: self.latest,
            store_ms: self.store_ms,
        }
    }

    /// Returns the time that windows have slid to, in milliseconds, as it is stored: in whole seconds.
    pub(super) fn slid_to(&self) -> Millis {
        self.latest.div_euclid(1000).saturating_mul(1000)
    }

    /// Whether it changes nothing, so that it need not be written.
    pub(super) fn is_empty(&self, ledger: &Ledger) -> bool {
        self.kept.is_empty()
            && self.minutes.is_empty()
            && self.forgotten.is_empty()
            && !self
                .touched
                .iter()
                .any(|&i| ledger.entry(i).is_some_and(|e| e.state.dirty))
    }
}

/// Why a request was not carried out.
pub(super) enum Stop {
    /// By existence or rules.
    Refused(Refusal),
    /// The disk cannot be read: nothing more can be judged.
    Unreadable(ReadError),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        Self::Unreadable(broken.into())
    }
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Unreadable(error)
    }
}
