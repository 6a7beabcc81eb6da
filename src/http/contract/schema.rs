//! What parameters, bodies and answers look like, as data: types with their limits, fields with their meaning.

/// What a value is, and within which limits.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) enum Type {
    /// `true` or `false`.
    Flag,
    /// A whole number, both ends included.
    Whole(i128, i128),
    /// A number with a fraction.
    Number,
    /// A text.
    Text(TextForm),
    /// One of these words. Clients of an answer must expect further ones.
    Word(&'static [&'static str]),
    /// A list of that type, with so many items at least and at most.
    List(&'static Self, usize, usize),
    /// An object.
    Object(&'static Shape),
    /// An object of any members, such as metadata.
    Anything,
}

/// Limits of a text, in characters.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct TextForm {
    pub(in crate::http) least: usize,
    /// `None`: it has no limit of its own.
    pub(in crate::http) most: Option<usize>,
    /// A regular expression of ECMA-262 that it matches.
    pub(in crate::http) pattern: Option<&'static str>,
    /// The `format` of JSON Schema, or one of ours for what no regular expression can say.
    pub(in crate::http) format: Option<&'static str>,
}

/// Any text.
pub(in crate::http) const TEXT: Type = Type::Text(TextForm {
    least: 0,
    most: None,
    pattern: None,
    format: None,
});

/// A text that is not empty.
pub(in crate::http) const SOME_TEXT: Type = Type::Text(TextForm {
    least: 1,
    most: None,
    pattern: None,
    format: None,
});

/// A text that has a format.
pub(in crate::http) const fn format(format: &'static str) -> Type {
    Type::Text(TextForm {
        least: 0,
        most: None,
        pattern: None,
        format: Some(format),
    })
}

/// A text that matches a regular expression, and has a format.
pub(in crate::http) const fn pattern(
    pattern: &'static str,
    format: Option<&'static str>,
    least: usize,
    most: usize,
) -> Type {
    Type::Text(TextForm {
        least,
        most: Some(most),
        pattern: Some(pattern),
        format,
    })
}

/// One member of an object.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Field {
    pub(in crate::http) name: &'static str,
    pub(in crate::http) is: Type,
    /// Whether it is always there.
    pub(in crate::http) required: bool,
    /// Whether it may be `null`.
    pub(in crate::http) nullable: bool,
    pub(in crate::http) meaning: &'static str,
}

/// A member that is always there.
pub(in crate::http) const fn must(name: &'static str, is: Type, meaning: &'static str) -> Field {
    Field {
        name,
        is,
        required: true,
        nullable: false,
        meaning,
    }
}

/// A member that may be absent.
pub(in crate::http) const fn may(name: &'static str, is: Type, meaning: &'static str) -> Field {
    Field {
        required: false,
        ..must(name, is, meaning)
    }
}

impl Field {
    /// The same, where it may be `null` too.
    pub(in crate::http) const fn or_null(self) -> Self {
        Self {
            nullable: true,
            ..self
        }
    }
}

/// An object: its name in the contract, what it is, and its members in their order.
#[derive(Debug)]
pub(in crate::http) struct Shape {
    pub(in crate::http) name: &'static str,
    pub(in crate::http) meaning: &'static str,
    pub(in crate::http) fields: &'static [Field],
    /// What belongs together: an object fits one of the cases at least; none are no restriction.
    pub(in crate::http) cases: &'static [Case],
}

/// Members that go together.
#[derive(Debug)]
pub(in crate::http) struct Case {
    /// Members that must be there, and not `null`.
    pub(in crate::http) has: &'static [&'static str],
    /// Members that must be absent or `null`.
    pub(in crate::http) lacks: &'static [&'static str],
    /// Members with narrower types; `null` is allowed where it is otherwise.
    pub(in crate::http) narrows: &'static [(&'static str, Type)],
}

/// Where a parameter stands in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum ParameterIn {
    /// In the path.
    Path,
    /// Behind `?`.
    Query,
    /// In a header.
    Header,
}

/// One parameter of a call.
#[derive(Debug)]
pub(in crate::http) struct Parameter {
    pub(in crate::http) place: ParameterIn,
    pub(in crate::http) name: &'static str,
    /// A list has commas between its items.
    pub(in crate::http) is: Type,
    pub(in crate::http) required: bool,
    pub(in crate::http) meaning: &'static str,
    pub(in crate::http) example: &'static str,
}
