//! Who was counted and what was answered before: in memory for the recent, else on disk.
//!
//! Exactness never rests on a hash alone: what is found in memory was compared byte for byte.

use crate::calendar::Day;
use crate::counter::{CounterName, DayRecord, Generation, Lapse, Moment, Seat, UserId};
use crate::storage::{
    Bucket, Cursor, Kept, LookedUp, ReadError, RequestKey, Tables, Undecodable, UserKey,
};

use super::filter::Filter;
use super::group::{KeptAnswer, Lookups, Sight};
use super::recent::Recent;
use super::seats::Seats;

/// What is kept in memory of users and keys.
pub(super) struct Memory {
    recent: Recent,
    users: Filter,
    keys: Filter,
    seats: Seats,
    day: Day,
    bucket: Bucket,
    user: UserKey,
    request: RequestKey,
}

impl Memory {
    /// Makes an empty memory of at most `recent_users` users, for that day and bucket.
    pub(super) fn new(recent_users: usize, day: Day, bucket: Bucket) -> Self {
        Self {
            recent: Recent::new(recent_users),
            users: Filter::new(LookedUp::Users, Some(Cursor::users_of(Some(day)))),
            keys: Filter::new(LookedUp::Requests, Some(oldest_good(bucket))),
            seats: Seats::new(recent_users / 4),
            day,
            bucket,
            user: UserKey::default(),
            request: RequestKey::default(),
        }
    }

    /// Moves on to a new day or bucket, of which nothing is on disk yet.
    pub(super) fn follow(&mut self, day: Day, bucket: Bucket) {
        if day != self.day {
            let (never, today) = (Cursor::users_of(None), Cursor::users_of(Some(day)));
            self.users.restart(never, Some(today));
            self.day = day;
        }
        if bucket != self.bucket {
            self.keys
                .restart(oldest_good(bucket), Some(Cursor::requests_of(bucket)));
            self.bucket = bucket;
        }
    }

    /// Empties the memory. The reopened store may hold anything of this day and bucket.
    pub(super) fn restart(&mut self, day: Day, bucket: Bucket) {
        self.recent.clear();
        self.seats.clear();
        self.users.restart(Cursor::users_of(Some(day)), None);
        self.keys.restart(oldest_good(bucket), None);
        self.day = day;
        self.bucket = bucket;
    }

    /// Reads some more keys from disk; returns whether there are still more.
    pub(super) fn fill(&mut self, tables: &Tables, limit: usize) -> Result<bool, ReadError> {
        if self.users.is_filling() {
            self.users.fill(tables, limit)?;
        } else if self.keys.is_filling() {
            self.keys.fill(tables, limit)?;
        } else {
            return self.seats.fill(tables, limit);
        }
        Ok(true)
    }

    /// Adds a user who is now counted on disk.
    pub(super) fn counted(&mut self, period: Option<Day>, generation: Generation, user: &UserId) {
        let key = self.user.set(period, generation, user.as_str()).as_bytes();
        self.recent.insert(key, &[]);
        self.users.insert(key);
    }

    /// Adds a user's seat as is now on disk.
    pub(super) fn saw(&mut self, sight: Sight) {
        self.seats.saw(sight);
    }

    /// Adds a user whom another instance counted, by the key on disk.
    pub(super) fn counted_elsewhere(&mut self, key: &[u8]) {
        self.users.insert(key);
    }

    /// Adds an idempotency key of which another instance keeps the answer, by the key on disk.
    pub(super) fn kept_elsewhere(&mut self, key: &[u8]) {
        self.keys.insert(key);
    }

    /// Notes a seat that another instance gave, or took (`None`), by the key on disk.
    pub(super) fn saw_elsewhere(
        &mut self,
        generation: Generation,
        key: &[u8],
        record: Option<&[u8]>,
    ) {
        self.seats.saw_elsewhere(generation, key, record);
    }

    /// Adds an idempotency key that is now on disk.
    pub(super) fn kept(&mut self, bucket: Bucket, client_key: &str) {
        let key = self.request.set(bucket, client_key);
        self.keys.insert(key.as_bytes());
    }
}

fn oldest_good(bucket: Bucket) -> Cursor {
    Cursor::requests_of(bucket.saturating_sub(1))
}

/// Look-ups against the store.
pub(super) struct StoreLookups<'a> {
    pub(super) tables: &'a Tables,
    pub(super) memory: &'a mut Memory,
}

impl Lookups for StoreLookups<'_> {
    fn counted(
        &mut self,
        period: Option<Day>,
        generation: Generation,
        user: &str,
    ) -> Result<bool, ReadError> {
        let Memory {
            recent,
            users,
            user: key,
            ..
        } = &mut *self.memory;
        let key = key.set(period, generation, user);
        // The filter first: it costs one cache line, and denies almost every new user.
        if users.denies(key.as_bytes()) {
            return Ok(false);
        }
        if recent.get(key.as_bytes()).is_some() {
            return Ok(true);
        }
        let counted = self.tables.is_counted(key)?;
        if counted {
            recent.insert(key.as_bytes(), &[]);
        }
        Ok(counted)
    }

    fn seat(
        &mut self,
        generation: Generation,
        user: &str,
    ) -> Result<Result<Option<Seat>, Undecodable>, ReadError> {
        self.memory.seats.seat(self.tables, generation, user)
    }

    fn follow_seats(
        &mut self,
        counters: &mut dyn Iterator<Item = (Generation, Lapse)>,
        moment: &Moment,
    ) {
        self.memory.seats.follow(counters, moment);
    }

    fn kept(&mut self, client_key: &str) -> Result<KeptAnswer, ReadError> {
        let Memory {
            keys: filter,
            request: key,
            bucket,
            ..
        } = &mut *self.memory;
        // Outcomes in the bucket before this one are still valid.
        for bucket in [Some(*bucket), bucket.checked_sub(1)].into_iter().flatten() {
            let key = key.set(bucket, client_key);
            if filter.denies(key.as_bytes()) {
                continue;
            }
            let found = match self.tables.kept(key) {
                Err(error) if error.is_rot() => return Ok(KeptAnswer::Corrupt),
                found => found?,
            };
            if let Some(read) = found {
                return Ok(match read {
                    Ok(Kept {
                        fingerprint,
                        outcome,
                    }) => KeptAnswer::Outcome {
                        fingerprint,
                        outcome,
                    },
                    Err(_) => {
                        tracing::error!(bucket, "an idempotency record cannot be read; it is kept");
                        KeptAnswer::Corrupt
                    }
                });
            }
        }
        Ok(KeptAnswer::Nothing)
    }

    fn day_record(
        &mut self,
        day: Day,
        counter: &CounterName,
    ) -> Result<Option<DayRecord>, ReadError> {
        let record = match self.tables.day_record(day, counter) {
            Err(error) if error.is_rot() => Err(Undecodable),
            record => record?.transpose(),
        };
        Ok(record.unwrap_or_else(|_| {
            tracing::error!(%counter, %day, "the day record cannot be read; it begins anew");
            None
        }))
    }
}
