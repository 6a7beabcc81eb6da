//! Days as text: CSV for spreadsheets, and one JSON object in each line for programs.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;

use anyhow::{anyhow, ensure};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::rows::{RowPages, Selection};
use crate::calendar::Day;
use crate::lifecycle::PastDay;
use crate::storage::ReadError;
use crate::storage::expiry::Daily;
use crate::writer::Running;

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileForm {
    /// Comma-separated values with a header (RFC 4180). A `'` is put before a text that a spreadsheet would take
    /// for a formula.
    Csv,
    /// One JSON object in each line.
    Jsonl,
}

/// The content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// A row for each day of a counter.
    Days,
    /// A row for each user of a day.
    Users,
}

/// The size of a piece of text, in bytes; a piece is at most one row longer.
const PIECE: usize = 128 * 1024;

/// How far an export has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileWritten {
    /// Days of counters.
    pub days: u64,
    /// Users.
    pub users: u64,
}

/// Writes a selection. `put` takes the text piece by piece, each with what was written so far.
///
/// # Errors
/// When the store cannot be read, or `put` does not take a piece.
pub fn write(
    running: &Running,
    selection: Selection,
    form: FileForm,
    content: Content,
    put: &mut dyn FnMut(String, FileWritten) -> io::Result<()>,
) -> anyhow::Result<FileWritten> {
    let unreadable = |error: ReadError| anyhow!("cannot read the store: {error}");
    let users_are_kept = |day: Day| {
        ensure!(
            day.days() >= running.reader.horizons.day(Daily::Dedup),
            "the user ids of {day} are no longer kept (calendar.user_retention_days); its record is: leave out --users"
        );
        Ok(())
    };
    let mut written = FileWritten::default();
    let mut text = match (form, content) {
        (FileForm::Csv, Content::Days) => format!("{DAY_HEADER}\r\n"),
        (FileForm::Csv, Content::Users) => format!("{USER_HEADER}\r\n"),
        (FileForm::Jsonl, Content::Days | Content::Users) => String::new(),
    };
    let mut pages = RowPages::new(selection);
    while let Some(rows) = pages.next(running).map_err(unreadable)? {
        for row in rows {
            let counter = row.name.as_str();
            let day = row.past.day;
            match (content, row.users()) {
                (Content::Days, _) => {
                    let day = &row.past;
                    push_day(&mut text, form, &DayLine { counter, day })?;
                }
                (Content::Users, None) => continue,
                (Content::Users, Some(mut users)) => {
                    users_are_kept(day)?;
                    let (date, closed) = (&day.to_string(), row.past.closed);
                    while let Some(page) = users.next(&running.reader).map_err(unreadable)? {
                        written.users += page.len() as u64;
                        for user_id in &page {
                            let line = UserLine {
                                counter,
                                date,
                                closed,
                                user_id,
                            };
                            push_user(&mut text, form, &line)?;
                            if text.len() >= PIECE {
                                put(std::mem::take(&mut text), written)?;
                            }
                        }
                    }
                    // The horizon may have passed the day while it was read.
                    users_are_kept(day)?;
                }
            }
            written.days += 1;
            if text.len() >= PIECE {
                put(std::mem::take(&mut text), written)?;
            }
        }
        put(std::mem::take(&mut text), written)?;
    }
    Ok(written)
}

/// The header of days in CSV: fields of a [`DayLine`].
const DAY_HEADER: &str = "date,counter,closed,kind,reset,final_value,opening,peak,peak_at,low,low_at,\
    increments,decrements,operations,generations,events,away_seconds,starts_at,ends_at";

/// The header of users in CSV.
const USER_HEADER: &str = "date,counter,closed,user_id";

#[derive(Serialize)]
struct DayLine<'a> {
    counter: &'a str,
    #[serde(flatten)]
    day: &'a PastDay,
}

#[derive(Serialize)]
struct UserLine<'a> {
    counter: &'a str,
    date: &'a str,
    closed: bool,
    user_id: &'a str,
}

fn push_day(text: &mut String, form: FileForm, line: &DayLine<'_>) -> io::Result<()> {
    match form {
        FileForm::Jsonl => push_json(text, line),
        FileForm::Csv => {
            let json = serde_json::to_string(line)?;
            let fields = serde_json::from_str(&json)?;
            let cells = DAY_HEADER.split(',').map(|column| cell(&fields, column));
            push_cells(text, &cells.collect::<io::Result<Vec<_>>>()?);
            Ok(())
        }
    }
}

fn push_user(text: &mut String, form: FileForm, line: &UserLine<'_>) -> io::Result<()> {
    match form {
        FileForm::Jsonl => push_json(text, line),
        // A day has millions: their cells are not taken from JSON.
        FileForm::Csv => {
            let closed = if line.closed { "true" } else { "false" };
            push_cells(
                text,
                &[line.date, line.counter, closed, &harmless(line.user_id)],
            );
            Ok(())
        }
    }
}

fn push_json(text: &mut String, line: &impl Serialize) -> io::Result<()> {
    text.push_str(&serde_json::to_string(line)?);
    text.push('\n');
    Ok(())
}

fn push_cells(text: &mut String, cells: &[impl AsRef<str>]) {
    for (number, cell) in cells.iter().map(AsRef::as_ref).enumerate() {
        if number > 0 {
            text.push(',');
        }
        if cell.contains(['"', ',', '\r', '\n']) || cell.trim() != cell {
            text.push('"');
            text.push_str(&cell.replace('"', "\"\""));
            text.push('"');
        } else {
            text.push_str(cell);
        }
    }
    text.push_str("\r\n");
}

/// Returns the text of a cell: that of the field, or of the number of events in place of their list. A record that
/// cannot be read has the kind `corrupt`, and no more.
fn cell(fields: &HashMap<&str, &RawValue>, column: &str) -> io::Result<String> {
    let field = match column {
        "events" => "events_total",
        "kind" if fields.contains_key("corrupt") => return Ok("corrupt".to_owned()),
        column => column,
    };
    Ok(match fields.get(field).map(|value| value.get()) {
        Some(value) if value.starts_with('"') => {
            let text: String = serde_json::from_str(value)?;
            harmless(&text).into_owned()
        }
        Some(value) => value.to_owned(),
        None => String::new(),
    })
}

/// Returns the text so that no spreadsheet takes it for a formula
/// ([CSV injection](https://owasp.org/www-community/attacks/CSV_Injection)).
fn harmless(text: &str) -> Cow<'_, str> {
    let formula =
        |text: &str| text.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠', '\t', '\r']);
    // Some split cells at a semicolon, whatever the file says.
    if formula(text) || text.starts_with('\'') || text.split(';').any(formula) {
        format!("'{text}").into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_would_run_is_made_text_and_reads_back() {
        for evil in ["=1+1", "+1", "-1", "@a", "'=1"] {
            assert_eq!(harmless(evil), format!("'{evil}"));
        }
        assert_eq!(harmless("u1"), "u1");
    }

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let mut text = String::new();
        push_cells(&mut text, &["a", "b,c", "say \"x\"", " d", "e\nf", ""]);
        assert_eq!(text, "a,\"b,c\",\"say \"\"x\"\"\",\" d\",\"e\nf\",\r\n");
    }
}
