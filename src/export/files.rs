//! Days as text: CSV for spreadsheets, and one JSON object in each line for programs.

use std::io;

use serde::{Deserialize, Serialize};

use super::rows::{Row, RowPages, Selection};
use crate::calendar::{Calendar, Day};
use crate::lifecycle::DayView;
use crate::storage::expiry::{Daily, Horizons};
use crate::storage::{ReadError, Reader};

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileWritten {
    /// Days of counters.
    pub days: u64,
    /// Users.
    pub users: u64,
}

/// Why a file was not written whole.
#[derive(Debug, thiserror::Error)]
pub enum ExportFileError {
    /// The store cannot be read.
    #[error("cannot read the store: {0}")]
    Read(#[from] ReadError),
    /// The user ids of a day are no longer kept.
    #[error(
        "the user ids of {day} are no longer kept (calendar.user_retention_days); its record is: \
         leave out --users"
    )]
    UsersGone {
        /// The day.
        day: Day,
    },
    /// The output refused the text.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// Where rows are read from.
pub struct ExportSource<'a> {
    /// The store.
    pub reader: &'a Reader,
    /// The calendar in force.
    pub calendar: &'a Calendar,
    /// The bounds below which data is no longer kept.
    pub horizons: &'a Horizons,
}

/// Writes a selection. `put` takes the text piece by piece, each with what was written so far.
///
/// # Errors
/// When the store cannot be read, or `put` does not take a piece.
pub fn write(
    source: &ExportSource<'_>,
    selection: Selection,
    form: FileForm,
    content: Content,
    put: &mut dyn FnMut(String, FileWritten) -> io::Result<()>,
) -> Result<FileWritten, ExportFileError> {
    let mut written = FileWritten::default();
    let mut text = header(form, content);
    let mut pages = RowPages::new(selection);
    while let Some(rows) = pages.next(source.reader, source.calendar, source.horizons)? {
        for row in rows {
            match content {
                Content::Days => push_day(&mut text, form, row)?,
                Content::Users => {
                    let Some(mut users) = row.users() else {
                        continue;
                    };
                    let day = row.past.day;
                    let kept_from = || source.horizons.day(Daily::Dedup);
                    if day.days() < kept_from() {
                        return Err(ExportFileError::UsersGone { day });
                    }
                    while let Some(page) = users.next(source.reader)? {
                        written.users += page.len() as u64;
                        for user in page {
                            push_user(&mut text, form, &row, &user)?;
                            if text.len() >= PIECE {
                                put(std::mem::take(&mut text), written)?;
                            }
                        }
                    }
                    // The horizon may have passed the day while it was read.
                    if day.days() < kept_from() {
                        return Err(ExportFileError::UsersGone { day });
                    }
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

const DAY_COLUMNS: [&str; 19] = [
    "date",
    "counter",
    "closed",
    "kind",
    "reset",
    "final_value",
    "opening",
    "peak",
    "peak_at",
    "low",
    "low_at",
    "increments",
    "decrements",
    "operations",
    "generations",
    "events",
    "away_seconds",
    "starts_at",
    "ends_at",
];

fn header(form: FileForm, content: Content) -> String {
    match (form, content) {
        (FileForm::Csv, Content::Days) => DAY_COLUMNS.join(",") + "\r\n",
        (FileForm::Csv, Content::Users) => "date,counter,closed,user_id\r\n".to_owned(),
        (FileForm::Jsonl, Content::Days | Content::Users) => String::new(),
    }
}

#[derive(Serialize)]
struct DayLine<'a> {
    counter: &'a str,
    #[serde(flatten)]
    day: DayView,
}

#[derive(Serialize)]
struct UserLine<'a> {
    counter: &'a str,
    date: String,
    closed: bool,
    user_id: &'a str,
}

fn push_day(text: &mut String, form: FileForm, row: Row) -> io::Result<()> {
    match form {
        FileForm::Jsonl => {
            let line = DayLine {
                counter: row.name.as_str(),
                day: row.past.into(),
            };
            push_json(text, &line)
        }
        FileForm::Csv => {
            push_csv(text, &DayView::from(row.past).cells(&row.name));
            Ok(())
        }
    }
}

fn push_user(text: &mut String, form: FileForm, row: &Row, user: &str) -> io::Result<()> {
    let date = row.past.day.to_string();
    match form {
        FileForm::Jsonl => push_json(
            text,
            &UserLine {
                counter: row.name.as_str(),
                date,
                closed: row.past.closed,
                user_id: user,
            },
        ),
        FileForm::Csv => {
            let closed = if row.past.closed { "true" } else { "false" };
            let cells = [date.as_str(), row.name.as_str(), closed, &harmless(user)];
            push_csv(text, &cells);
            Ok(())
        }
    }
}

fn push_json(text: &mut String, line: &impl Serialize) -> io::Result<()> {
    text.push_str(&serde_json::to_string(line)?);
    text.push('\n');
    Ok(())
}

fn push_csv(text: &mut String, cells: &[impl AsRef<str>]) {
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

/// Returns the text so that no spreadsheet takes it for a formula
/// ([CSV injection](https://owasp.org/www-community/attacks/CSV_Injection)).
fn harmless(text: &str) -> std::borrow::Cow<'_, str> {
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
        push_csv(&mut text, &["a", "b,c", "say \"x\"", " d", "e\nf", ""]);
        assert_eq!(text, "a,\"b,c\",\"say \"\"x\"\"\",\" d\",\"e\nf\",\r\n");
    }
}
