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

/// The names that a server counts, as `counters.names` lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CountedNames(Vec<CounterPattern>);

impl CountedNames {
    /// Makes the names that these patterns mean; all names where there is none.
    pub fn new(patterns: Vec<CounterPattern>) -> Self {
        Self(patterns)
    }

    /// Returns whether the server counts this counter.
    pub fn has(&self, counter: &CounterName) -> bool {
        self.0.is_empty() || self.0.iter().any(|one| one.matches(counter))
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

    #[test]
    fn a_list_of_names_has_those_alone_and_an_empty_one_has_all() {
        let parse = |text: &&str| CounterPattern::parse(text).unwrap();
        let names = |texts: &[&str]| CountedNames::new(texts.iter().map(parse).collect());
        let some = names(&["lobby:*", "online"]);
        for (counter, is_some) in [
            ("lobby:eu", true),
            ("online", true),
            ("lobby", false),
            ("online_players", false),
            ("my_lobby:eu", false),
        ] {
            assert_eq!(some.has(&name(counter)), is_some, "{counter}");
            assert!(names(&[]).has(&name(counter)), "{counter}");
            assert!(names(&["*"]).has(&name(counter)), "{counter}");
        }
    }
}
