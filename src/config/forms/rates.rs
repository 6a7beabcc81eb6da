//! Limits of rates, and the networks and the header that they know clients by.

use ipnet::IpNet;

use super::texts::Text;
use super::{Described, Form, Raw, items, quoted, refused};
use crate::http::{Rate, network};

/// A rate, or `off`, which is `None`.
pub(in crate::config) const RATE_OR_OFF: Text<Option<Rate>> = Text {
    wanted: "a rate such as \"100/s\", \"600/m\" or \"5/h\", of at most 1000000, or \"off\"",
    parse: |text| match text {
        "off" => Ok(None),
        rate => rate.parse().map(Some).map_err(|()| None),
    },
    show: |rate| quoted(&rate.map_or_else(|| "off".to_owned(), |rate| rate.to_string())),
};

/// The name of a header that lists addresses.
pub(in crate::config) const CLIENT_HEADER: Text<String> = Text {
    wanted: "the name of a header with addresses, such as \"X-Forwarded-For\"",
    parse: |text| match http::HeaderName::from_bytes(text.as_bytes()) {
        Ok(name) if name == http::header::FORWARDED => Err(Some(
            "the form of this header is not read; have the proxy send X-Forwarded-For".to_owned(),
        )),
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(None),
    },
    show: quoted,
};

/// A number from 1 to the largest burst, or `auto`, which is `None`.
pub(in crate::config) struct BurstOrAuto;

impl Described for BurstOrAuto {
    fn wanted(&self) -> String {
        format!("a whole number from 1 to {}, or \"auto\"", Rate::MAX)
    }
}

impl Form<Option<u32>> for BurstOrAuto {
    fn read(&self, raw: Raw) -> Result<Option<u32>, String> {
        let number = match &raw {
            Raw::Text(text) | Raw::Untyped(text) if text == "auto" => return Ok(None),
            Raw::Integer(number) => *number,
            Raw::Untyped(text) => text.parse().ok(),
            _ => None,
        };
        let number = number.and_then(|number| u32::try_from(number).ok());
        match number.filter(|number| (1..=Rate::MAX).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => refused(self, raw.found()),
        }
    }

    fn show(&self, value: &Option<u32>) -> String {
        value.map_or_else(|| quoted("auto"), |number| number.to_string())
    }
}

/// A list of networks; in a flag or a variable with commas between them.
pub(in crate::config) struct Networks;

impl Described for Networks {
    fn wanted(&self) -> String {
        "a list of networks or addresses, such as \"10.0.0.0/8\"".to_owned()
    }
}

impl Form<Vec<IpNet>> for Networks {
    fn read(&self, raw: Raw) -> Result<Vec<IpNet>, String> {
        let read = |text: String| network(&text).map_err(|error| format!("{text:?}: {error}"));
        items(self, raw)?.into_iter().map(read).collect()
    }

    fn show(&self, value: &Vec<IpNet>) -> String {
        let shown: Vec<String> = value.iter().map(quoted).collect();
        format!("[{}]", shown.join(", "))
    }
}
