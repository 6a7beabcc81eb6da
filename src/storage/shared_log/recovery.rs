//! What a command says of a shared log, and the way past a loss: what Redis still holds becomes the log, as a new epoch.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::log_mark::LogMark;
use super::{Chores, Confirmed, LogAddress, SharedLog, elsewhere};
use crate::clock::SystemClock;
use crate::storage::held::HeldDir;
use crate::storage::lock::DataDirLock;
use crate::storage::shared_log_error::SharedLogError;

/// What was done, and what was given up for it.
#[derive(Debug)]
pub struct LogRecovery {
    /// What was found, in words.
    found: String,
    /// Where the log ends; `None` where it was gone.
    end: Option<u64>,
    /// How many groups were acknowledged, as far as the data directory says.
    acknowledged: u64,
    /// The epoch that was followed.
    old_epoch: u64,
    /// The epoch from now on.
    epoch: u64,
}

impl fmt::Display for LogRecovery {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given_up = match self.end {
            Some(end) if end < self.acknowledged => {
                format!("{} groups at least", self.acknowledged - end)
            }
            Some(_) => "some groups: others were appended in their place".to_owned(),
            None => "everything".to_owned(),
        };
        write!(
            out,
            "found:         {}\n\
             acknowledged:  {} groups\n\
             recovered:     {} groups\n\
             given up:      {given_up}\n\
             epoch:         {} (was {})",
            self.found,
            self.acknowledged,
            self.end.unwrap_or(0),
            self.epoch,
            self.old_epoch
        )
    }
}

impl SharedLog {
    /// Makes one that follows nothing.
    pub(super) fn alone(address: LogAddress) -> Self {
        let confirmed = Confirmed::new(Arc::new(SystemClock), address.max_lag);
        Self::new(
            address,
            Arc::new(|| ()),
            Chores::none(),
            Arc::new(confirmed),
        )
    }

    /// Looks at Redis and at the log there, as an instance with that data directory would at its start, and says how both are.
    /// Changes nothing.
    ///
    /// # Errors
    /// What a start would refuse, or have against the log.
    pub fn examine(address: LogAddress, data_dir: &Path) -> Result<String, SharedLogError> {
        let mark = if data_dir.exists() {
            LogMark::read(&HeldDir::open(data_dir)?, &address.prefix)?
        } else {
            None
        };
        let mut log = Self::alone(address);
        let limit = log.link.limit();
        let durability = log.look_at_redis(limit)?;
        match mark {
            Some(mark) => log.take_over(mark),
            None => {
                let Some(state) = log.state(limit)? else {
                    elsewhere::check(&mut log.link, limit, &log.keys.cell())?;
                    return Ok(format!("there is no log yet; {durability}"));
                };
                log.log_id = state.log_id;
                log.lineage = log.lineage_there(limit)?;
            }
        }
        let groups = log.check(limit)?.position;
        let epoch = log.epoch();
        Ok(format!("{groups} groups, epoch {epoch}; {durability}"))
    }

    /// Begins a new epoch of the log that was followed from the directory that `lock` holds, with what Redis still holds of it.
    /// Every instance that runs goes on with it by itself. `now_ms` is milliseconds since 1970; the new epoch is that, or one
    /// more than the old.
    ///
    /// # Errors
    /// [`SharedLogError::Refused`] when nothing is lost; when Redis cannot be asked.
    pub fn recover(
        address: LogAddress,
        lock: &DataDirLock,
        now_ms: i64,
    ) -> Result<LogRecovery, SharedLogError> {
        let dir = HeldDir::open(lock.data_dir())?;
        let mark = LogMark::read(&dir, &address.prefix)?;
        let mut log = Self::alone(address);
        let limit = log.link.limit();
        let state = log.state(limit)?;
        match (mark, &state) {
            (Some(mark), _) => log.take_over(mark),
            (None, Some(state)) => {
                log.lineage = log.lineage_there(limit)?;
                log.log_id = state.log_id;
                log.acknowledged = state.end.clone();
                log.at = state.end.clone();
            }
            (None, None) => {
                elsewhere::check(&mut log.link, limit, &log.keys.cell())?;
                return Err(SharedLogError::Refused(format!(
                    "there is no shared log under {}, and this data directory followed none",
                    log.keys.cell()
                )));
            }
        }
        let (acknowledged, old_epoch) = (log.acknowledged.position, log.epoch());
        let finding = match log.check(limit) {
            Ok(_) => {
                return Err(SharedLogError::Refused(
                    "the shared log holds all that was acknowledged; nothing was changed"
                        .to_owned(),
                ));
            }
            Err(error @ (SharedLogError::Lost { .. } | SharedLogError::Epoch { .. })) => error,
            Err(error) => return Err(error),
        };
        let end = state.as_ref().map(|state| state.end.position);
        if matches!(finding, SharedLogError::Epoch { .. }) {
            // Whoever began it counts there; this directory forgets the one that it knew.
            log.lineage = log.lineage_there(limit)?;
            LogMark::forget(&dir)?;
        } else {
            log.begin_epoch(limit, now_ms)?;
            log.record(&dir)?;
        }
        Ok(LogRecovery {
            found: finding.finding(),
            end,
            acknowledged,
            old_epoch,
            epoch: log.epoch(),
        })
    }
}
