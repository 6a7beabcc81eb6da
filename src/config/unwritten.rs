//! What holds for a key without a default when nothing is written for it.

use std::path::Path;

use super::mistakes::SettingSource;
use super::reader::Reader;
use crate::calendar::machine_zone;

/// Returns nothing: no value holds.
pub(super) fn unset<T: Default>(_: &mut Reader<'_>) -> (T, SettingSource) {
    (T::default(), SettingSource::Default)
}

/// Returns one for each of the machine's cores, up to the limit of `server.workers`.
pub(super) fn cores(_: &mut Reader<'_>) -> (usize, SettingSource) {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(256));
    (
        cores,
        SettingSource::Machine("the machine's cores".to_owned()),
    )
}

/// Returns the machine's zone; a warning tells when that is not known.
pub(super) fn zone_of_the_machine(reader: &mut Reader<'_>) -> (String, SettingSource) {
    let machine = machine_zone(reader.tz, Path::new("/etc/localtime"));
    if let Some(warning) = machine.warning {
        reader.report.warn("calendar.timezone", warning);
    }
    (machine.name, SettingSource::Machine(machine.found_in))
}
