//! The state machine of one alert: ok, pending, firing, recovering, ok.
//!
//! Waits run in store time, so neither a restart nor a jump of the wall clock shortens or begins them anew.

use super::rule::RuleSettings;
use crate::counter::Millis;
use crate::seeded::bug;

words! {
    /// Where an alert stands.
    AlertPhase {
        /// Its rule does not hold.
        Ok = "ok",
        /// Its rule holds, not yet for as long as it must.
        Pending = "pending",
        /// It fires.
        Firing = "firing",
        /// It fires; its rule does not hold, not yet for as long as it must not.
        Recovering = "recovering",
    }
}

/// What a rule says at a moment.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It holds.
    Holds(Evidence),
    /// It does not hold.
    Clear,
    /// There are no data that tell.
    Unknown,
}

/// Why a rule holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// What was found.
    pub value: Option<i64>,
    /// What was expected.
    pub expected: Option<i64>,
    /// Why that is wrong, in words.
    pub why: String,
}

impl Verdict {
    /// Returns that the rule holds, for that reason.
    pub fn holds(value: i64, expected: Option<i64>, why: String) -> Self {
        Self::Holds(Evidence {
            value: Some(value),
            expected,
            why,
        })
    }
}

/// The instant of a look: by the wall clock, and in store time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookedAt {
    /// Milliseconds since 1970.
    pub wall_ms: Millis,
    /// Milliseconds of store time.
    pub store_ms: Millis,
}

/// What a look changed of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Its rule began to hold.
    Pends,
    /// Its rule ceased to hold before it fired.
    Passed,
    /// It fires: a notice is due.
    Fired,
    /// Its rule ceased to hold.
    Recovers,
    /// Its rule holds again before it had ended: no notice is due.
    Relapsed,
    /// It has ended: a notice is due.
    Resolved,
}

/// One alert.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertState {
    /// Where it stands.
    pub phase: AlertPhase,
    /// When its rule began to hold.
    pub since: Millis,
    /// When it fired; `None` before that.
    pub fired_at: Option<Millis>,
    /// When it ended; `None` before that.
    pub ended_at: Option<Millis>,
    /// From when its wait counts, in store time.
    pub waits_from: Millis,
    /// The store time of the last look; `None` before the first since the start.
    pub looked_at: Option<Millis>,
    /// Why its rule holds, or last held.
    pub evidence: Evidence,
}

impl AlertState {
    /// Makes an alert whose rule does not hold.
    pub fn new() -> Self {
        Self {
            phase: AlertPhase::Ok,
            since: 0,
            fired_at: None,
            ended_at: None,
            waits_from: 0,
            looked_at: None,
            evidence: Evidence::default(),
        }
    }

    /// Whether it fires, recovering or not.
    pub fn is_on(&self) -> bool {
        matches!(self.phase, AlertPhase::Firing | AlertPhase::Recovering)
    }

    /// Takes in what the rule says; returns what that changed.
    pub fn step(
        &mut self,
        verdict: Verdict,
        now: LookedAt,
        settings: &RuleSettings,
    ) -> Option<Turn> {
        let before = self.looked_at.replace(now.store_ms);
        let verdict = match verdict {
            Verdict::Unknown if bug("resolves_without_data") => Verdict::Clear,
            verdict => verdict,
        };
        let holds = match verdict {
            // The time without data counts for no wait.
            Verdict::Unknown => {
                let passed = before.map_or(0, |before| now.store_ms.saturating_sub(before));
                self.waits_from = self.waits_from.saturating_add(passed.max(0));
                return None;
            }
            Verdict::Holds(evidence) => {
                self.evidence = evidence;
                true
            }
            Verdict::Clear => false,
        };
        let waited = now.store_ms.saturating_sub(self.waits_from);
        match (self.phase, holds) {
            (AlertPhase::Ok, true) => {
                *self = Self {
                    phase: AlertPhase::Pending,
                    since: now.wall_ms,
                    fired_at: None,
                    ended_at: None,
                    waits_from: now.store_ms,
                    ..self.clone()
                };
                Some(if settings.for_ms <= 0 {
                    self.fire(now)
                } else {
                    Turn::Pends
                })
            }
            (AlertPhase::Pending, true) if waited >= settings.for_ms => Some(self.fire(now)),
            (AlertPhase::Pending, false) => {
                self.phase = AlertPhase::Ok;
                Some(Turn::Passed)
            }
            (AlertPhase::Firing, false) => {
                self.phase = AlertPhase::Recovering;
                self.waits_from = now.store_ms;
                Some(if settings.keep_for_ms <= 0 {
                    self.resolve(now)
                } else {
                    Turn::Recovers
                })
            }
            (AlertPhase::Recovering, true) => {
                self.phase = AlertPhase::Firing;
                Some(Turn::Relapsed)
            }
            (AlertPhase::Recovering, false) if waited >= settings.keep_for_ms => {
                Some(self.resolve(now))
            }
            (AlertPhase::Ok, false)
            | (AlertPhase::Pending | AlertPhase::Firing, true)
            | (AlertPhase::Recovering, false) => None,
        }
    }

    fn fire(&mut self, now: LookedAt) -> Turn {
        self.phase = AlertPhase::Firing;
        self.fired_at = Some(now.wall_ms);
        Turn::Fired
    }

    /// Ends it.
    pub fn resolve(&mut self, now: LookedAt) -> Turn {
        self.phase = AlertPhase::Ok;
        // A clock that was set back makes no alert end before it fired.
        self.ended_at = Some(now.wall_ms.max(self.fired_at.unwrap_or(Millis::MIN)));
        Turn::Resolved
    }
}

impl Default for AlertState {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::AlertRule;

    const SETTINGS: RuleSettings = RuleSettings {
        for_ms: 60_000,
        keep_for_ms: 300_000,
        ..RuleSettings::usual(AlertRule::Drop)
    };

    /// Looks each second from `from` to `to` (seconds, the last not), and returns what turned when.
    fn looks(
        state: &mut AlertState,
        verdict: &Verdict,
        from: i64,
        to: i64,
        turns: &mut Vec<(i64, Turn)>,
    ) {
        for second in from..to {
            let now = LookedAt {
                wall_ms: 1_000_000 + second * 1000,
                store_ms: second * 1000,
            };
            let turn = state.step(verdict.clone(), now, &SETTINGS);
            turns.extend(turn.map(|turn| (second, turn)));
        }
    }

    fn holds() -> Verdict {
        Verdict::holds(1, Some(2), "less".to_owned())
    }

    #[test]
    fn it_fires_after_its_wait_and_ends_after_the_other() {
        let (mut state, mut turns) = (AlertState::new(), Vec::new());
        looks(&mut state, &Verdict::Clear, 0, 10, &mut turns);
        looks(&mut state, &holds(), 10, 100, &mut turns);
        looks(&mut state, &Verdict::Clear, 100, 200, &mut turns);
        looks(&mut state, &holds(), 200, 210, &mut turns);
        looks(&mut state, &Verdict::Clear, 210, 600, &mut turns);
        let wanted = [
            (10, Turn::Pends),
            (70, Turn::Fired),
            (100, Turn::Recovers),
            (200, Turn::Relapsed),
            (210, Turn::Recovers),
            (510, Turn::Resolved),
        ];
        assert_eq!(turns, wanted);
        assert_eq!(
            (state.since, state.fired_at, state.ended_at),
            (1_010_000, Some(1_070_000), Some(1_510_000))
        );
    }

    #[test]
    fn without_data_it_neither_fires_nor_ends() {
        let (mut state, mut turns) = (AlertState::new(), Vec::new());
        looks(&mut state, &holds(), 0, 30, &mut turns);
        looks(&mut state, &Verdict::Unknown, 30, 500, &mut turns);
        looks(&mut state, &holds(), 500, 540, &mut turns);
        looks(&mut state, &Verdict::Unknown, 540, 5000, &mut turns);
        looks(&mut state, &Verdict::Clear, 5000, 5100, &mut turns);
        looks(&mut state, &Verdict::Unknown, 5100, 9000, &mut turns);
        looks(&mut state, &Verdict::Clear, 9000, 9300, &mut turns);
        let wanted = [
            (0, Turn::Pends),
            (530, Turn::Fired),
            (5000, Turn::Recovers),
            (9200, Turn::Resolved),
        ];
        assert_eq!(turns, wanted);
    }

    #[test]
    fn what_passes_before_its_time_tells_nobody() {
        let (mut state, mut turns) = (AlertState::new(), Vec::new());
        for begun in [0, 100, 200] {
            looks(&mut state, &holds(), begun, begun + 60, &mut turns);
            looks(
                &mut state,
                &Verdict::Clear,
                begun + 60,
                begun + 100,
                &mut turns,
            );
        }
        let turned: Vec<Turn> = turns.iter().map(|(_, turn)| *turn).collect();
        assert_eq!(turned, [Turn::Pends, Turn::Passed].repeat(3));
    }
}
