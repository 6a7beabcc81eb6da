//! A small file system of the test's own, on a loop device: to be filled, or to lose its power.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted ext4; dropped, it is unmounted.
pub struct SmallDisk {
    home: tempfile::TempDir,
    mounted: bool,
}

impl SmallDisk {
    /// Makes one; none, and why, where mounting is refused.
    pub fn new(megabytes: u64) -> Result<Self, String> {
        // No blocks kept back for root: full is full.
        Self::made_by(&["mkfs.ext4", "-q", "-m", "0", "-F"], megabytes)
    }

    /// Makes one by that command, to which the image is added; none, and why, where it is not there or
    /// mounting is refused.
    pub fn made_by(command: &[&str], megabytes: u64) -> Result<Self, String> {
        let home = tempfile::tempdir().unwrap();
        let mut disk = Self {
            home,
            mounted: false,
        };
        File::create(disk.image())
            .unwrap()
            .set_len(megabytes << 20)
            .unwrap();
        let image = disk.image();
        let (program, arguments) = command.split_first().unwrap();
        ran(Command::new(program)
            .args(arguments)
            .arg(&image)
            .env("PATH", path()))?;
        std::fs::create_dir(disk.path()).unwrap();
        disk.mount()?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.home.path().join("image")
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.home.path().join("disk")
    }

    pub fn mount(&mut self) -> Result<(), String> {
        let (image, at) = (self.image(), self.path());
        ran(Command::new("mount")
            .args(["-o", "loop"])
            .arg(image)
            .arg(at)
            .env("PATH", path()))?;
        self.mounted = true;
        Ok(())
    }

    pub fn unmount(&mut self) -> Result<(), String> {
        ran(Command::new("umount").arg(self.path()).env("PATH", path()))?;
        self.mounted = false;
        Ok(())
    }

    /// Mounts it anew in another way, such as `ro`, without a moment in which it is not there. The
    /// kernel makes nothing read-only that somebody has open for writing.
    pub fn remount(&self, way: &str) -> Result<(), String> {
        ran(Command::new("mount")
            .args(["-o", &format!("remount,{way}")])
            .arg(self.path())
            .env("PATH", path()))
    }

    /// Holds up whoever writes to it or syncs, until what it gives is dropped. Until then nothing of the
    /// test may write there.
    pub fn freeze(&self) -> Result<Frozen, String> {
        let frozen = Frozen(self.path());
        ran(Command::new("fsfreeze")
            .arg("-f")
            .arg(self.path())
            .env("PATH", path()))?;
        Ok(frozen)
    }

    /// Cuts the power: from now on nothing reaches the disk, not even the log of the file system.
    pub fn cut_power(&self) {
        const EXT4_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;
        const NO_LOG_FLUSH: u32 = 2;
        let root = File::open(self.path()).unwrap();
        // SAFETY: the ioctl reads four bytes from the pointer; the descriptor is open.
        let failed = unsafe { libc::ioctl(root.as_raw_fd(), EXT4_IOC_SHUTDOWN, &NO_LOG_FLUSH) };
        assert_eq!(
            failed,
            0,
            "the shutdown ioctl: {}",
            std::io::Error::last_os_error()
        );
    }

    /// Free bytes.
    pub fn free(&self) -> u64 {
        let figures = rustix::fs::statvfs(self.path()).unwrap();
        figures.f_bavail * figures.f_frsize
    }

    /// Takes all the space but `rest` bytes, at once.
    pub fn fill(&self, rest: u64) {
        let filler = File::create(self.path().join("filler")).unwrap();
        // In pieces: a single one must not fail for want of the last block.
        let mut length = 0;
        for piece in [1 << 24, 1 << 20, 1 << 16, 1 << 12] {
            while self.free() >= piece + rest {
                let flags = rustix::fs::FallocateFlags::empty();
                if rustix::fs::fallocate(&filler, flags, length, piece).is_err() {
                    break;
                }
                length += piece;
            }
        }
    }

    /// Gives it back.
    pub fn empty(&self) {
        std::fs::remove_file(self.path().join("filler")).unwrap();
    }
}

/// A file system that holds up all writes; dropped, it lets them go.
pub struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = ran(Command::new("fsfreeze")
            .arg("-u")
            .arg(&self.0)
            .env("PATH", path()));
    }
}

/// The tools are not in an ordinary user's path everywhere.
fn path() -> String {
    format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    )
}

fn ran(command: &mut Command) -> Result<(), String> {
    let done = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!(
        "{:?}: {}",
        command.get_program(),
        String::from_utf8_lossy(&done.stderr).trim()
    ))
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.mounted && self.unmount().is_err() {
            // Busy: it goes when the last file is closed.
            let _ = ran(Command::new("umount")
                .arg("-l")
                .arg(self.path())
                .env("PATH", path()));
        }
    }
}

/// The files of a store that RocksDB or we write to, for a tracer to look at.
pub fn store_files(data: &Path, kinds: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for store in [data.join("store"), data.join("store.new")] {
        for kind in kinds {
            match *kind {
                "ACKED" => files.push(store.join("ACKED")),
                "dir" => files.extend([store.clone(), store.join("db")]),
                "MANIFEST" => {
                    files.extend((1..150).map(|n| store.join(format!("db/MANIFEST-{n:06}"))))
                }
                kind => files.extend((1..150).map(|n| store.join(format!("db/{n:06}.{kind}")))),
            }
        }
    }
    files
}
