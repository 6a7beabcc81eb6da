//! The part of a path after `?`: only parameters that the call knows, each at most once.

use std::borrow::Cow;

use axum::extract::Query;
use http::Uri;

use super::contract::Endpoint;
use super::error::{Code, Problem};
use super::parse::{self, LIKE, listed, nearest, shown};
use crate::counter::CounterName;

/// Refuses a parameter that the call does not know, and one that is there twice.
pub(super) fn check(uri: &Uri, endpoint: &Endpoint) -> Result<(), Problem> {
    if uri.query().is_none() {
        return Ok(());
    }
    let mut seen: Vec<String> = Vec::new();
    for (name, _) in pairs(uri)? {
        if !endpoint.takes_query(&name) {
            return Err(unknown(&name, endpoint));
        }
        if seen.contains(&name) {
            return Err(invalid(format!("the parameter `{name}` is there twice")));
        }
        seen.push(name);
    }
    Ok(())
}

/// The values of these parameters, of a query that was checked.
pub(super) fn read<const N: usize>(
    uri: &Uri,
    names: [&'static str; N],
) -> Result<[Option<String>; N], Problem> {
    let mut pairs = pairs(uri)?;
    Ok(names.map(|known| {
        let place = pairs.iter().position(|(name, _)| name == known);
        place.map(|place| pairs.swap_remove(place).1)
    }))
}

fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, Problem> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
    pairs
        .map(|Query(pairs)| pairs)
        .map_err(|_| invalid("the query is not `name=value` pairs in UTF-8"))
}

/// Reads a parameter that `parse` understands; `None` when it is absent.
pub(super) fn value<T>(
    parameter: &str,
    text: Option<String>,
    wanted: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Problem> {
    let Some(text) = text else {
        return Ok(None);
    };
    let refused = || invalid(format!("`{parameter}` must be {wanted}"));
    parse(&text).map(Some).ok_or_else(refused)
}

/// Reads the parameter `names`: 1 to `most` counters, in the order asked. One that is named again counts for the limit,
/// and is read once.
pub(super) fn names(text: Option<String>, most: usize) -> Result<Vec<CounterName>, Problem> {
    let mut names: Vec<CounterName> = Vec::new();
    let text = text.unwrap_or_default();
    let mut given = 0;
    for name in text.split(',').filter(|name| !name.is_empty()) {
        let name = parse::name(name)?;
        given += 1;
        if given > most {
            break;
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if (1..=most).contains(&given) {
        return Ok(names);
    }
    let detail = format!("`names` must be 1 to {most} counter names with commas between");
    Err(invalid(detail))
}

/// Names the parameter, and the parameter or the field of the body that is most like it.
fn unknown(name: &str, endpoint: &Endpoint) -> Problem {
    let name = shown(name);
    let unknown = format!("unknown parameter {name:?}");
    let near = |known| nearest(&name, known, LIKE);
    let (known, fields) = (endpoint.queries(), endpoint.fields());
    invalid(match (near(&known), near(&fields)) {
        (Some(near), _) => format!("{unknown}; did you mean `{near}`?"),
        (None, Some(field)) => format!("{unknown}; send `{field}` as a field of the JSON body"),
        (None, None) if known.is_empty() => format!("{unknown}; this call takes none"),
        (None, None) => format!("{unknown}; known are {}", listed(&known)),
    })
}

/// Returns the refusal of a query.
pub(super) fn invalid(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(Code::InvalidQuery, detail)
}
