//! `ACKED`: how far the store beside it was acknowledged.
//!
//! RocksDB alone cannot tell a torn tail, which nobody was promised, from acknowledged writes that
//! were lost. So after each synced group, and before its answers, the group's sequence number is
//! written here; an opening that would give less is refused. Two slots are written in turn, each
//! within one sector and with a checksum, so that a torn write leaves the other.
//!
//! Kept out: judging. What a mark means for an opening is `open`'s to decide.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::file_error::{FileError, if_there};
use super::files::{FileMark, Live};
use super::fixed::{Fixed, joined, whole};
use crate::links::NO_LINK;

/// The file's name in `store/`.
pub const FILE_NAME: &str = "ACKED";

const MAGIC: [u8; 8] = *b"ctdACKED";
const SLOT_BYTES: usize = 80;
/// The slots lie a page apart, so that no disk has both in one physical sector.
const SLOT_STRIDE: u64 = 4096;
const FILE_BYTES: u64 = 2 * SLOT_STRIDE;

/// What `ACKED` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Which write it was, counted from the file's creation.
    pub turn: u64,
    /// Version of keys, values and families.
    pub format: u32,
    /// Version of the merge operator's operands and fold.
    pub merge: u32,
    /// The history the store is on: milliseconds since 1970 at its start.
    pub epoch: u64,
    /// RocksDB's sequence number up to which every operation was acknowledged.
    pub sequence: u64,
    /// The log and the manifest that were live when sizes were last recorded.
    pub live: Live,
}

impl Mark {
    fn encode(&self) -> [u8; SLOT_BYTES] {
        let Live { wal, manifest } = self.live;
        let mut slot = joined::<SLOT_BYTES>(&[
            &MAGIC,
            &self.turn.to_be_bytes(),
            &self.format.to_be_bytes(),
            &self.merge.to_be_bytes(),
            &self.epoch.to_be_bytes(),
            &self.sequence.to_be_bytes(),
            &wal.number.to_be_bytes(),
            &wal.size.to_be_bytes(),
            &manifest.number.to_be_bytes(),
            &manifest.size.to_be_bytes(),
        ]);
        let (body, checksum) = slot.split_at_mut(SLOT_BYTES - 8);
        checksum.copy_from_slice(&xxh3_64(body).to_be_bytes());
        slot
    }

    fn decode(slot: &[u8; SLOT_BYTES]) -> Option<Self> {
        let (body, checksum) = slot.split_last_chunk::<8>()?;
        if xxh3_64(body) != u64::from_be_bytes(*checksum) {
            return None;
        }
        whole(body.strip_prefix(&MAGIC)?, |bytes| {
            Some(Self {
                turn: u64::take(bytes)?,
                format: u32::take(bytes)?,
                merge: u32::take(bytes)?,
                epoch: u64::take(bytes)?,
                sequence: u64::take(bytes)?,
                live: Live {
                    wal: FileMark::take(bytes)?,
                    manifest: FileMark::take(bytes)?,
                },
            })
        })
    }
}

impl Fixed for FileMark {
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self {
            number: u64::take(bytes)?,
            size: u64::take(bytes)?,
        })
    }
}

/// Reads the epoch in the file at `path`; `None` where it cannot be read.
pub fn epoch_in(path: &Path) -> Option<u64> {
    Some(read(path).ok()?.ok()?.epoch)
}

/// Reads the newer of the valid slots of the file at `path`, without changing it; `Err` within says what is wrong
/// with the file where there is none.
///
/// # Errors
/// When the file is there but cannot be read.
pub fn read(path: &Path) -> Result<Result<Mark, &'static str>, FileError> {
    let opened = File::options().read(true).custom_flags(NO_LINK).open(path);
    let Some(file) = if_there(opened.map_err(FileError::new("open", path)))? else {
        return Ok(Err("missing"));
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES)
        .read_to_end(&mut bytes)
        .map_err(FileError::new("read", path))?;
    let slots = bytes.chunks(SLOT_STRIDE as usize);
    let marks = slots.filter_map(|slot| Mark::decode(slot.first_chunk()?));
    let newest = marks.max_by_key(|mark| mark.turn);
    Ok(newest.ok_or("damaged (no slot has a valid checksum)"))
}

/// The open file: the writer's record of what it acknowledged.
#[derive(Debug)]
pub struct Acked {
    file: File,
    path: PathBuf,
    mark: Mark,
}

impl Acked {
    /// Makes the file with `mark` in both slots, synced.
    ///
    /// # Errors
    /// When the file exists or cannot be written or synced.
    pub fn create(path: &Path, mark: Mark) -> Result<Self, FileError> {
        let file = File::options().write(true).create_new(true).open(path);
        let file = file.map_err(FileError::new("create", path))?;
        let sized = file.set_len(FILE_BYTES);
        sized.map_err(FileError::new("size", path))?;
        let path = path.to_owned();
        let mut acked = Self { file, path, mark };
        acked.write(mark)?;
        acked.write(mark)?;
        let synced = acked.file.sync_all();
        synced.map_err(FileError::new("sync", &acked.path))?;
        Ok(acked)
    }

    /// Opens the file for writing after [`read`] gave `mark`.
    ///
    /// # Errors
    /// When the file cannot be opened for writing.
    pub fn resume(path: &Path, mark: Mark) -> Result<Self, FileError> {
        let file = File::options().write(true).custom_flags(NO_LINK).open(path);
        let file = file.map_err(FileError::new("open", path))?;
        let path = path.to_owned();
        Ok(Self { file, path, mark })
    }

    /// Returns what the file says now.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// Records that everything up to `sequence` is on disk and may be acknowledged. Not synced:
    /// a crash of the process keeps it, and [`Acked::sync`] bounds what a power cut takes.
    ///
    /// # Errors
    /// When the file cannot be written; the group must then not be acknowledged.
    pub fn advance(&mut self, sequence: u64) -> Result<(), FileError> {
        self.write(Mark {
            sequence,
            ..self.mark
        })
    }

    /// Records `mark` as the next turn, in the slot that is not the newest.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, mark: Mark) -> Result<(), FileError> {
        let turn = self.mark.turn + 1;
        let mark = Mark { turn, ..mark };
        self.file
            .write_all_at(&mark.encode(), turn % 2 * SLOT_STRIDE)
            .map_err(FileError::new("write", &self.path))?;
        self.mark = mark;
        Ok(())
    }

    /// Syncs what was recorded.
    ///
    /// # Errors
    /// When the sync fails; it is not to be tried again on this handle.
    pub fn sync(&self) -> Result<(), FileError> {
        self.file
            .sync_data()
            .map_err(FileError::new("sync", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(turn: u64, sequence: u64) -> Mark {
        Mark {
            turn,
            format: 1,
            merge: 2,
            epoch: 3,
            sequence,
            live: Live {
                wal: FileMark { number: 5, size: 6 },
                manifest: FileMark { number: 7, size: 8 },
            },
        }
    }

    #[test]
    fn a_slot_is_these_bytes() {
        let slot = mark(9, 4).encode();
        #[rustfmt::skip]
        let body: [u8; 72] = [
            b'c', b't', b'd', b'A', b'C', b'K', b'E', b'D', // magic
            0, 0, 0, 0, 0, 0, 0, 9, // turn
            0, 0, 0, 1, // format
            0, 0, 0, 2, // merge operator
            0, 0, 0, 0, 0, 0, 0, 3, // epoch
            0, 0, 0, 0, 0, 0, 0, 4, // sequence
            0, 0, 0, 0, 0, 0, 0, 5, // log: number
            0, 0, 0, 0, 0, 0, 0, 6, // log: size
            0, 0, 0, 0, 0, 0, 0, 7, // manifest: number
            0, 0, 0, 0, 0, 0, 0, 8, // manifest: size
        ];
        assert_eq!(slot[..72], body);
        assert_eq!(slot[72..], xxh3_64(&body).to_be_bytes());
        assert_eq!(Mark::decode(&slot), Some(mark(9, 4)));
    }

    #[test]
    fn every_flipped_bit_of_a_slot_is_seen() {
        let slot = mark(9, 4).encode();
        for bit in 0..SLOT_BYTES * 8 {
            let mut flipped = slot;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Mark::decode(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_torn_slot_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let mut acked = Acked::create(&path, mark(0, 10)).unwrap();
        acked.advance(11).unwrap();
        acked.advance(12).unwrap();
        let newest = acked.mark.turn % 2;
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[0xff; 40], newest * SLOT_STRIDE)
            .unwrap();
        assert_eq!(read(&path).unwrap(), Ok(mark(3, 11)));
        file.write_all_at(&[0xff; 40], (1 - newest) * SLOT_STRIDE)
            .unwrap();
        let damaged = Err("damaged (no slot has a valid checksum)");
        assert_eq!(read(&path).unwrap(), damaged);
    }

    #[test]
    fn the_newest_slot_counts_across_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        assert_eq!(read(&path).unwrap(), Err("missing"));
        Acked::create(&path, mark(0, 1)).unwrap();
        for sequence in 2..9 {
            let found = read(&path).unwrap().unwrap();
            assert_eq!(found.sequence, sequence - 1);
            Acked::resume(&path, found)
                .unwrap()
                .advance(sequence)
                .unwrap();
        }
    }
}
