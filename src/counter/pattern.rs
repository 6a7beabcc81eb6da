//! Which counters are meant by what is written of them: a name, or the beginning of names.

use super::identity::{CounterName, NameFault};

/// Counters that somebody means: one by its name, or all whose names begin alike, written with a `*` at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CounterPattern {
    /// The counter of that name.
    Name(CounterName),
    /// All counters whose names begin so; all there are where it is empty.
    Prefix(String),
}

impl CounterPattern {
    /// Reads such a text.
    ///
    /// # Errors
    /// When it is no name and no beginning of one.
    pub fn parse(text: &str) -> Result<Self, NameFault> {
        let Some(prefix) = text.strip_suffix('*') else {
            return CounterName::parse(text).map(Self::Name);
        };
        // A beginning may end in what no name ends in, such as `event:`.
        if !prefix.is_empty() {
            CounterName::parse(&format!("{prefix}0"))?;
        }
        Ok(Self::Prefix(prefix.to_owned()))
    }

    /// Returns whether it means this counter.
    pub fn matches(&self, counter: &CounterName) -> bool {
        match self {
            Self::Name(name) => name == counter,
            Self::Prefix(prefix) => counter.as_str().starts_with(prefix),
        }
    }
}

impl std::fmt::Display for CounterPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> CounterName {
        CounterName::parse(text).unwrap()
    }

    #[test]
    fn a_pattern_is_a_name_or_a_beginning() {
        for (text, matching, other) in [
            ("a", "a", "ab"),
            ("event:*", "event:xmas", "events"),
            ("*", "x", ""),
        ] {
            let pattern = CounterPattern::parse(text).unwrap();
            assert_eq!(pattern.to_string(), text);
            assert!(pattern.matches(&name(matching)), "{text}");
            assert!(
                other.is_empty() || !pattern.matches(&name(other)),
                "{text} {other}"
            );
        }
        for bad in ["", "A", "a b", "a*b", "é*", "**"] {
            assert!(CounterPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
