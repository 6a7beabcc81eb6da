//! Instants and days as the API shows them: RFC 3339 with milliseconds and `Z`, and `YYYY-MM-DD`.

use parking_lot::Mutex;

use crate::calendar::Day;
use crate::counter::rfc3339;
use crate::current_day::CurrentDay;

/// What answers say of one local day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DayFacts {
    /// Its date.
    pub(super) text: Box<str>,
    /// Where it ends, as the API shows it; `None` where no day follows.
    pub(super) end_text: Option<Box<str>>,
}

/// Remembers the day asked for last: nearly all requests ask for the same one.
#[derive(Default)]
pub(super) struct DayMemo(Mutex<Option<(Day, DayFacts)>>);

impl DayMemo {
    /// Gives `use_facts` what answers say of `day`, if there is one.
    pub(super) fn with<R>(
        &self,
        current: &CurrentDay,
        day: Option<Day>,
        use_facts: impl FnOnce(Option<&DayFacts>) -> R,
    ) -> R {
        let Some(day) = day else {
            return use_facts(None);
        };
        let mut memo = self.0.lock();
        match &*memo {
            Some((known, facts)) if *known == day => use_facts(Some(facts)),
            Some(_) | None => {
                let facts = DayFacts {
                    text: day.to_string().into(),
                    end_text: current.local_day(day).end.map(|end| rfc3339(end).into()),
                };
                let (_, facts) = memo.insert((day, facts));
                use_facts(Some(facts))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counter::parse_rfc3339;

    #[test]
    fn instants_have_milliseconds_and_z() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_795_516_200_007), "2026-11-24T10:30:00.007Z");
        assert_eq!(
            parse_rfc3339("2026-11-24T11:30:00.0079+01:00"),
            Some(1_795_516_200_007)
        );
        for bad in [
            "",
            "2026-11-24",
            "2026-11-24T10:30:00",
            "2026-13-24T10:30:00Z",
            "1795516200",
            // In UTC these are no years of four digits.
            "9999-12-31T23:59:59-12:00",
            "0000-12-31T23:59:59Z",
            "0001-01-01T00:00:00+12:00",
        ] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }
}
