//! The configuration file as values with their lines.

use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

use super::forms::Raw;
use super::mistakes::SettingSource;

/// Largest configuration file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The file being read: its name, and its text to find lines in.
pub(super) struct File<'t> {
    pub(super) name: String,
    pub(super) text: &'t str,
}

impl File<'_> {
    /// Returns the line that the byte at `offset` is on.
    pub(super) fn at(&self, offset: usize) -> SettingSource {
        let before = self.text.as_bytes().iter().take(offset);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        SettingSource::File(self.name.clone(), line)
    }
}

/// Reads the file's text, up to a limit.
pub(super) fn read(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut text = String::new();
    let read = file.take(MAX_FILE + 1).read_to_string(&mut text);
    let length = read.map_err(|error| format!("cannot be read: {error}"))?;
    if length as u64 > MAX_FILE {
        return Err("is larger than 1 MiB".to_owned());
    }
    Ok(text)
}

/// Returns what a value of the file is, without its place.
pub(super) fn raw(value: &DeValue) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => {
            Raw::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok())
        }
        DeValue::Boolean(on) => Raw::Bool(*on),
        DeValue::Array(items) => {
            let text = |item: &Spanned<DeValue>| item.get_ref().as_str().map(str::to_owned);
            items
                .iter()
                .map(text)
                .collect::<Option<Vec<String>>>()
                .map_or(Raw::Other("list of other things than strings"), Raw::List)
        }
        DeValue::Float(_) => Raw::Other("fraction"),
        DeValue::Datetime(written) => Raw::Moment(written.to_string()),
        DeValue::Table(_) => Raw::Other("table"),
    }
}
