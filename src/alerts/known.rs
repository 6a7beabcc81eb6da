//! What counterd itself did to a counter's value: no fall or rise by that is an alert, of that counter alone.

use crate::counter::{Event, EventKind, Millis};

words! {
    /// Why a fall or a rise of a counter is no alert.
    ExplainedBy {
        /// A daily counter began a new day.
        DayBoundary = "day_boundary",
        /// An administrator set it to 0.
        Reset = "reset",
        /// An administrator corrected it.
        Adjust = "adjust",
        /// An administrator deleted it.
        Delete = "delete",
        /// Its time was over.
        Expiry = "expiry",
        /// It came to be.
        Creation = "creation",
        /// An administrator gave it a value after damage.
        Repair = "repair",
        /// Its definition changed.
        Redefinition = "redefinition",
        /// A silence speaks of it.
        Silence = "silence",
        /// Its leases settle after a start.
        Settling = "settling",
        /// The server was away, and has just come back.
        Away = "away",
        /// More happened to it in the day than is kept.
        Unlisted = "unlisted",
    }
}

/// For how long a counter whose definition changed is not compared with earlier days, in milliseconds.
pub const REDEFINED_MS: Millis = 3_600_000;

/// Something that counterd did to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownChange {
    /// When.
    pub at: Millis,
    /// What it was.
    pub by: ExplainedBy,
    /// The value before.
    pub before: i64,
    /// The value after.
    pub after: i64,
}

impl KnownChange {
    /// Takes an event of a day record.
    pub fn of(event: &Event) -> Self {
        let by = match event.kind {
            EventKind::Creation => ExplainedBy::Creation,
            EventKind::Reset => ExplainedBy::Reset,
            EventKind::Adjust => ExplainedBy::Adjust,
            EventKind::Delete => ExplainedBy::Delete,
            EventKind::Expiry => ExplainedBy::Expiry,
            EventKind::Repair => ExplainedBy::Repair,
        };
        Self {
            at: event.at,
            by,
            before: event.before,
            after: event.after,
        }
    }

    /// By how much the value changed.
    fn shift(&self) -> i128 {
        i128::from(self.after) - i128::from(self.before)
    }

    /// Whether values before and after it are of another size: it moved the value by more than a tenth, or it is
    /// not known by how much.
    pub fn parts(&self) -> bool {
        match self.by {
            ExplainedBy::Redefinition | ExplainedBy::Unlisted | ExplainedBy::Away => true,
            ExplainedBy::DayBoundary
            | ExplainedBy::Reset
            | ExplainedBy::Adjust
            | ExplainedBy::Delete
            | ExplainedBy::Expiry
            | ExplainedBy::Creation
            | ExplainedBy::Repair
            | ExplainedBy::Silence
            | ExplainedBy::Settling => {
                self.shift().abs().saturating_mul(10) > i128::from(self.before).abs()
            }
        }
    }
}

/// The known changes of a counter, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownChanges(pub Vec<KnownChange>);

impl KnownChanges {
    /// Whether values of `from` can be compared with those of `to` (instants): what counterd did in between
    /// moved the value by at most a tenth of `value`, and a definition that changed did so an hour before `to`.
    pub fn comparable(&self, from: Millis, to: Millis, value: f64) -> bool {
        let between = self.0.iter().filter(|one| one.at > from && one.at <= to);
        let mut shift: i128 = 0;
        for one in between {
            match one.by {
                ExplainedBy::Redefinition if to.saturating_sub(one.at) < REDEFINED_MS => {
                    return false;
                }
                ExplainedBy::Redefinition | ExplainedBy::Away => {}
                ExplainedBy::Unlisted => return false,
                ExplainedBy::DayBoundary
                | ExplainedBy::Reset
                | ExplainedBy::Adjust
                | ExplainedBy::Delete
                | ExplainedBy::Expiry
                | ExplainedBy::Creation
                | ExplainedBy::Repair
                | ExplainedBy::Silence
                | ExplainedBy::Settling => shift = shift.saturating_add(one.shift()),
            }
        }
        #[allow(
            clippy::cast_precision_loss,
            reason = "a tenth of a value need not be exact to the last digit"
        )]
        let shift = shift.unsigned_abs() as f64;
        shift <= value.abs() / 10.0
    }

    /// Returns the instant of the last change up to `to` after which values are of another size; the minimum
    /// where there is none.
    pub fn parted_at(&self, to: Millis) -> Millis {
        let parting = self.0.iter().filter(|one| one.at <= to && one.parts());
        parting.map(|one| one.at).max().unwrap_or(Millis::MIN)
    }

    /// Forgets what happened before an instant.
    pub fn forget_before(&mut self, at: Millis) {
        self.0.retain(|one| one.at >= at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(at: Millis, by: ExplainedBy, before: i64, after: i64) -> KnownChange {
        KnownChange {
            at,
            by,
            before,
            after,
        }
    }

    #[test]
    fn a_reset_parts_what_was_before_from_what_comes_after() {
        let reset = change(100, ExplainedBy::Reset, 5000, 0);
        let known = KnownChanges(vec![reset]);
        assert!(!known.comparable(50, 200, 5000.0));
        assert!(known.comparable(100, 200, 5000.0) && known.comparable(50, 99, 5000.0));
        assert_eq!(
            (known.parted_at(99), known.parted_at(100)),
            (Millis::MIN, 100)
        );
        // It was wrong, and was taken back.
        let mended = change(150, ExplainedBy::Adjust, 3, 5003);
        let known = KnownChanges(vec![reset, mended]);
        assert!(known.comparable(50, 200, 5000.0));
        assert_eq!(known.parted_at(200), 150);
    }

    #[test]
    fn a_small_adjust_parts_nothing() {
        let known = KnownChanges(vec![change(100, ExplainedBy::Adjust, 5000, 4600)]);
        assert!(known.comparable(50, 200, 5000.0));
        assert!(!known.comparable(50, 200, 500.0));
        assert_eq!(known.parted_at(200), Millis::MIN);
    }

    #[test]
    fn a_changed_definition_parts_for_an_hour() {
        let known = KnownChanges(vec![change(100, ExplainedBy::Redefinition, 5, 5)]);
        assert!(!known.comparable(50, 100 + REDEFINED_MS - 1, 5.0));
        assert!(known.comparable(50, 100 + REDEFINED_MS, 5.0));
    }
}
