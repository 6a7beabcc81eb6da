//! One step of a counter, and the arithmetic that decides it.

use super::{CounterName, Definition, Kind, OnBound, Refusal, SessionId, UserId};

words! {
    /// Up or down.
    Direction {
        /// Up.
        Increment = "increment",
        /// Down.
        Decrement = "decrement",
    }
}

words! {
    /// What a client asks of a counter.
    Action {
        /// Count up; on a `presence`, as a heartbeat does.
        Increment = "increment",
        /// Count down; on a `presence`, as a leave does.
        Decrement = "decrement",
        /// Begin or renew a lease.
        Heartbeat = "heartbeat",
        /// End a lease.
        Leave = "leave",
    }
}

impl Action {
    /// Returns which way it moves a counter that is no `presence`.
    pub fn direction(self) -> Direction {
        match self {
            Self::Increment | Self::Heartbeat => Direction::Increment,
            Self::Decrement | Self::Leave => Direction::Decrement,
        }
    }

    /// Whether only a `presence` does it.
    pub fn is_of_leases(self) -> bool {
        matches!(self, Self::Heartbeat | Self::Leave)
    }
}

/// The largest weight of a lease.
pub const MAX_WEIGHT: i64 = i32::MAX as i64;

/// What a client asks of one counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Which counter.
    pub counter: CounterName,
    /// What.
    pub action: Action,
    /// By how much: 1 to `i64::MAX`; of a heartbeat the weight, from 0.
    pub amount: i64,
    /// Who; needed by `unique` and `presence`, ignored by the other kinds.
    pub user_id: Option<UserId>,
    /// Which log-in of the user, for leases; `None` where it is not said.
    pub session: Option<SessionId>,
}

/// An administrator's correction of a `gauge` or `sum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjustment {
    /// The value becomes this.
    To(i64),
    /// The value moves by this.
    By(i64),
}

/// Works out the signed change of `value` by an operation on a `gauge` or `sum`, or by a new user of
/// a `unique`.
///
/// Within the bounds, what would leave them is refused or clamped. A value outside them (the bounds
/// were narrowed) may move towards them, whole, unless it would pass the far bound; moving away is
/// refused, or a change of 0 when clamped.
pub fn judge_move(
    definition: &Definition,
    value: i64,
    direction: Direction,
    amount: i64,
) -> Result<i64, Refusal> {
    let (current, minimum, maximum) = (value, definition.min, definition.max);
    let from = i128::from(value);
    let (room, refusal) = match direction {
        Direction::Increment => (
            i128::from(maximum) - from,
            Refusal::AboveMaximum { current, maximum },
        ),
        // Of a `presence` it makes a lease weigh less.
        Direction::Decrement if !matches!(definition.kind, Kind::Gauge | Kind::Presence) => {
            return Err(Refusal::WrongKind {
                kind: definition.kind,
                wanted: "decrement",
            });
        }
        Direction::Decrement => (
            from - i128::from(minimum),
            Refusal::BelowMinimum { current, minimum },
        ),
    };
    let (wish, room) = (i128::from(amount), room.max(0));
    let moved = match definition.on_bound {
        _ if wish <= room => wish,
        OnBound::Refuse => return Err(refusal),
        OnBound::Clamp => room,
    };
    let signed = match direction {
        Direction::Increment => moved,
        Direction::Decrement => -moved,
    };
    // `moved` ≤ `amount` ≤ i64::MAX, so the change always fits.
    Ok(signed as i64)
}

/// Works out the value after an adjustment: refused outside the bounds, never clamped.
pub fn judge_adjustment(
    definition: &Definition,
    value: i64,
    adjustment: Adjustment,
) -> Result<i64, Refusal> {
    let by_users = matches!(definition.kind, Kind::Unique | Kind::Presence);
    if by_users || definition.window.is_some() {
        return Err(Refusal::WrongKind {
            kind: definition.kind,
            wanted: "adjust",
        });
    }
    let target = match adjustment {
        Adjustment::To(target) => i128::from(target),
        Adjustment::By(delta) => i128::from(value) + i128::from(delta),
    };
    within_bounds(definition, value, target)
}

/// Checks that a counter of `value` may be set to `target`: refused outside the bounds, never clamped.
pub fn within_bounds(definition: &Definition, value: i64, target: i128) -> Result<i64, Refusal> {
    let (current, minimum, maximum) = (value, definition.min, definition.max);
    if target < i128::from(minimum) {
        return Err(Refusal::BelowMinimum { current, minimum });
    }
    match i64::try_from(target) {
        Ok(target) if target <= maximum => Ok(target),
        Ok(_) | Err(_) => Err(Refusal::AboveMaximum { current, maximum }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounded(min: i64, max: i64, on_bound: OnBound) -> Definition {
        Definition {
            min,
            max,
            on_bound,
            ..Definition::default()
        }
    }

    #[test]
    fn what_would_leave_the_bounds_is_refused() {
        let d = bounded(-2, 10, OnBound::Refuse);
        assert_eq!(judge_move(&d, 8, Direction::Increment, 2), Ok(2));
        assert_eq!(
            judge_move(&d, 8, Direction::Increment, 3),
            Err(Refusal::AboveMaximum {
                current: 8,
                maximum: 10
            })
        );
        assert_eq!(judge_move(&d, 0, Direction::Decrement, 2), Ok(-2));
        assert_eq!(
            judge_move(&d, 0, Direction::Decrement, 3),
            Err(Refusal::BelowMinimum {
                current: 0,
                minimum: -2
            })
        );
    }

    #[test]
    fn a_clamp_stops_at_the_bound() {
        let d = bounded(0, 10, OnBound::Clamp);
        assert_eq!(judge_move(&d, 8, Direction::Increment, 3), Ok(2));
        assert_eq!(judge_move(&d, 10, Direction::Increment, 3), Ok(0));
        assert_eq!(judge_move(&d, 2, Direction::Decrement, i64::MAX), Ok(-2));
    }

    #[test]
    fn after_narrowing_towards_the_range_is_whole_and_away_is_not() {
        let d = bounded(0, 10, OnBound::Refuse);
        assert_eq!(judge_move(&d, 100, Direction::Decrement, 5), Ok(-5));
        assert_eq!(judge_move(&d, 100, Direction::Decrement, 100), Ok(-100));
        assert!(judge_move(&d, 100, Direction::Decrement, 101).is_err());
        assert!(judge_move(&d, 100, Direction::Increment, 1).is_err());
        let d = bounded(0, 10, OnBound::Clamp);
        assert_eq!(judge_move(&d, 100, Direction::Decrement, 101), Ok(-100));
        assert_eq!(judge_move(&d, 100, Direction::Increment, 1), Ok(0));
        assert_eq!(judge_move(&d, -5, Direction::Increment, 100), Ok(15));
        assert_eq!(judge_move(&d, -5, Direction::Decrement, 1), Ok(0));
    }

    #[test]
    fn the_whole_range_of_i64_is_safe() {
        let d = bounded(i64::MIN, i64::MAX, OnBound::Refuse);
        assert!(judge_move(&d, i64::MAX, Direction::Increment, 1).is_err());
        assert!(judge_move(&d, i64::MIN, Direction::Decrement, 1).is_err());
        assert_eq!(
            judge_move(&d, i64::MIN, Direction::Increment, i64::MAX),
            Ok(i64::MAX)
        );
        assert!(judge_adjustment(&d, i64::MAX, Adjustment::By(1)).is_err());
        assert!(judge_adjustment(&d, i64::MIN, Adjustment::By(-1)).is_err());
        assert_eq!(
            judge_adjustment(&d, 5, Adjustment::To(i64::MIN)),
            Ok(i64::MIN)
        );
    }

    #[test]
    fn only_a_gauge_goes_down_and_a_unique_is_not_adjusted() {
        for kind in [Kind::Sum, Kind::Unique] {
            let d = Definition {
                kind,
                ..Definition::default()
            };
            assert!(matches!(
                judge_move(&d, 5, Direction::Decrement, 1),
                Err(Refusal::WrongKind { .. })
            ));
        }
        let sum = Definition {
            kind: Kind::Sum,
            ..Definition::default()
        };
        assert_eq!(judge_adjustment(&sum, 5, Adjustment::By(-3)), Ok(2));
        let unique = Definition {
            kind: Kind::Unique,
            ..Definition::default()
        };
        assert!(matches!(
            judge_adjustment(&unique, 5, Adjustment::To(0)),
            Err(Refusal::WrongKind { .. })
        ));
    }
}
