//! From what was written for a key, in every layer, to its effective value.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use super::forms::{FILE_PATH, Form, Raw};
use super::mistakes::{Report, SettingSource};
use super::rows::Key;
use crate::calendar::machine_zone;

/// Returns what holds when nothing is written, and who says so.
pub(super) type Unwritten<T> = fn(&mut Reader<'_>) -> (T, SettingSource);

/// What was written in the layers, by key, the lowest layer first.
#[derive(Default)]
pub(super) struct Written {
    values: BTreeMap<&'static str, Vec<(SettingSource, Raw)>>,
    /// The tables of each array, such as `[[counter]]`, and where each begins.
    pub(super) arrays: BTreeMap<&'static str, Vec<(SettingSource, Written)>>,
}

impl Written {
    pub(super) fn put(&mut self, key: &'static Key, raw: Raw, source: SettingSource) {
        self.values.entry(key.name).or_default().push((source, raw));
    }
}

/// Gives each key its value: what the highest layer says, else the default.
pub(super) struct Reader<'r> {
    pub(super) written: Written,
    pub(super) report: &'r mut Report,
    /// The variable `TZ`.
    pub(super) tz: Option<&'r str>,
    /// The table of an array that is being read, for mistakes: where it begins, and what it is.
    pub(super) table: Option<(&'r SettingSource, &'r str)>,
    /// The files that secrets were read from, by the keys that name them.
    pub(super) secret_files: Vec<(&'static str, PathBuf)>,
    /// Where each value read so far comes from.
    pub(super) sources: BTreeMap<&'static str, SettingSource>,
}

impl<'r> Reader<'r> {
    pub(super) fn new(written: Written, report: &'r mut Report) -> Self {
        Self {
            written,
            report,
            tz: None,
            table: None,
            secret_files: Vec::new(),
            sources: BTreeMap::new(),
        }
    }

    /// Reads the key's value and notes where it comes from. What is wrong in any layer is reported, and
    /// the default stands in; `None` where there is no default either.
    pub(super) fn read<T>(
        &mut self,
        form: &impl Form<T>,
        unwritten: Option<Unwritten<T>>,
        key: &'static Key,
    ) -> Option<T> {
        let place = self.written.values.get(key.name).and_then(|all| all.last());
        let place = place.map(|(source, _)| source.clone());
        let written = self.highest(form, key);
        let file = key.file.and_then(|file| {
            let (path, source) = self.highest::<PathBuf>(&FILE_PATH, file)?;
            self.sources.insert(file.name, source.clone());
            self.secret_files.push((file.name, path.clone()));
            Some((file, path, source))
        });
        let chosen = match (written, file) {
            (Some((_, source)), Some((file, _, file_source)))
                if source.rank() == file_source.rank() =>
            {
                let text = format!("{} and {} are both set; remove one", key.name, file.name);
                self.report.mistake(&file_source, text);
                None
            }
            (Some(written), Some((_, _, source))) if written.1.rank() > source.rank() => {
                Some(written)
            }
            (_, Some((file, path, source))) => {
                let what = format!("{}: {}", file.name, path.display());
                let read = read_line(&path).and_then(|line| form.read(Raw::Untyped(line)));
                self.accepted(what, read, source)
            }
            (written, None) => written,
        };
        let chosen = chosen.or_else(|| match unwritten {
            Some(unwritten) => Some(unwritten(self)),
            None => self.default(form, key),
        });
        if let (None, None, Some((table, what))) = (&chosen, &place, self.table) {
            let text = format!("a {what} needs a {}", key.name);
            self.report.mistake(table, text);
        }
        let (value, source) = chosen?;
        // What cannot be read was written all the same.
        let source = match (source, place) {
            (SettingSource::Default, Some(place)) => place,
            (source, _) => source,
        };
        self.sources.insert(key.name, source);
        Some(value)
    }

    /// Checks what every layer says, and returns the highest layer's.
    fn highest<T>(&mut self, form: &impl Form<T>, key: &Key) -> Option<(T, SettingSource)> {
        let layers = self.written.values.remove(key.name).unwrap_or_default();
        let read = layers.into_iter();
        let read = read.filter_map(|(source, raw)| self.accepted(key.name, form.read(raw), source));
        // All are read, also those that a higher layer overrides.
        read.reduce(|_, higher| higher)
    }

    fn default<T>(&mut self, form: &impl Form<T>, key: &Key) -> Option<(T, SettingSource)> {
        let what = format_args!("bad default of {}", key.name);
        let read = form.read(Raw::Untyped(key.default?.to_owned()));
        self.accepted(what, read, SettingSource::Default)
    }

    /// Returns what was read, and from where; reports the error of `what` there.
    fn accepted<T>(
        &mut self,
        what: impl Display,
        read: Result<T, String>,
        source: SettingSource,
    ) -> Option<(T, SettingSource)> {
        match read {
            Ok(value) => Some((value, source)),
            Err(error) => {
                self.report.mistake(&source, format!("{what}: {error}"));
                None
            }
        }
    }
}

/// Reads the file of a secret, without the end of its line.
fn read_line(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// Returns nothing: no value holds.
pub(super) fn unset<T: Default>(_: &mut Reader<'_>) -> (T, SettingSource) {
    (T::default(), SettingSource::Default)
}

/// Returns one for each of the machine's cores, up to the limit of `server.workers`.
pub(super) fn cores(_: &mut Reader<'_>) -> (u16, SettingSource) {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let cores = u16::try_from(cores).unwrap_or(u16::MAX).min(256);
    let source = SettingSource::Machine("the machine's cores".to_owned());
    (cores, source)
}

/// Returns the machine's zone; a warning tells when that is not known.
pub(super) fn zone_of_the_machine(reader: &mut Reader<'_>) -> (String, SettingSource) {
    let machine = machine_zone(reader.tz, Path::new("/etc/localtime"));
    if let Some(warning) = machine.warning {
        reader.report.warn("calendar.timezone", warning);
    }
    (machine.name, SettingSource::Machine(machine.found_in))
}
