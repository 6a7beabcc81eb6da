//! Alerts: rules that are judged once a second on published values, what each of them says now, and the
//! notices of it.
//!
//! A rule is a pure function of values, samples and the time that is passed in (`judge`, `expected`). What it
//! says goes through one small state machine (`phase`): ok, pending, firing, recovering, ok. Where a rule
//! fires is kept in the store, so that a restart neither forgets it nor tells it twice.
//!
//! Kept out: what readers of HTTP see of it is written by `http`; who asks for which rules is `config`.

mod board;
mod book;
mod counter_watch;
mod counters;
mod course;
mod delivery;
mod disk;
mod expected;
mod judge;
mod known;
mod lag;
mod notice;
mod notices;
mod past;
mod phase;
mod rule;
mod silence;
mod system;
mod trial;
mod watch;

pub use crate::metrics::AlertRule;
pub use board::{AlertBoard, AlertShown, AlertsShown, Explained};
pub use book::{AlertBook, Turned};
pub use delivery::{AlertUrl, PostError, Posted, Poster, Receivers};
pub use notice::NoticeTexts;
pub use phase::{AlertPhase, AlertState, Evidence, LookedAt, Turn, Verdict};
pub use rule::{AlertRules, RuleEntry, RuleSettings, Severity};
pub use silence::{Silence, SilenceFault, SilenceWanted};
pub use trial::{Answered, reach_all, tell_test};
pub use watch::{AlertOptions, AlertWatch, WatchedCopies};

use std::fmt;

use crate::counter::CounterName;

/// Which alert: a rule, and the counter that it is about. There is at most one of each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlertKey {
    /// The rule.
    pub rule: AlertRule,
    /// The counter; `None` for a rule about the server.
    pub counter: Option<CounterName>,
}

impl fmt::Display for AlertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.counter {
            Some(counter) => write!(f, "{} of {counter}", self.rule.as_str()),
            None => f.write_str(self.rule.as_str()),
        }
    }
}

#[cfg(test)]
mod tests;
