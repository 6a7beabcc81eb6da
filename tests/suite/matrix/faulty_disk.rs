//! A disk of the server's that fails, or syncs slowly, when the test says so: by a preload of our own.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use crate::harness::{Setup, counterd};

/// What the file system on which the data directory lies does to the server.
pub struct FaultyDisk {
    orders: File,
}

impl FaultyDisk {
    /// Gives `setup` such a disk at `mount`; else why that cannot be done.
    pub fn of(setup: Setup, home: &Path, mount: &Path) -> Result<(Setup, Self), String> {
        let (source, library, orders) = (
            home.join("faulty_disk.c"),
            home.join("faulty_disk.so"),
            home.join("orders"),
        );
        std::fs::write(&source, include_str!("faulty_disk.c")).unwrap();
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .arg(&library)
            .arg(&source);
        let compiled = compiler.output().map_err(|error| format!("cc: {error}"))?;
        if !compiled.status.success() {
            return Err(format!("cc: {}", String::from_utf8_lossy(&compiled.stderr)));
        }
        std::fs::write(&orders, [0; 16]).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let preload = [
            ("LD_PRELOAD", text(&library)),
            ("TEST_DISK_ORDERS", text(&orders)),
            ("TEST_DISK", text(mount)),
        ];
        let probe = counterd().arg("version").envs(preload.clone()).output();
        let probe = probe.unwrap();
        if !probe.status.success() {
            return Err(format!("the preload does not work: {}", probe.status));
        }
        let setup = preload
            .iter()
            .fold(setup, |setup, (name, value)| setup.env(name, value));
        let orders = File::options().read(true).write(true).open(orders).unwrap();
        Ok((setup, Self { orders }))
    }

    fn order(&self, writes: i32, reads: i32, sync_ms: i32) {
        let orders = [writes, reads, sync_ms].map(i32::to_ne_bytes).concat();
        self.orders.write_all_at(&orders, 0).unwrap();
    }

    /// Every write, sync and opening for writing gets that error.
    pub fn refuse_writes(&self, error: i32) {
        self.order(error, 0, 0);
    }

    /// Nothing can be read or written.
    pub fn fail(&self) {
        self.order(libc::EIO, libc::EIO, 0);
    }

    /// Each sync takes so much longer.
    pub fn sync_slowly(&self, by_ms: i32) {
        self.order(0, 0, by_ms);
    }

    /// It is as good as new.
    pub fn mend(&self) {
        self.order(0, 0, 0);
    }

    /// How often it failed or was slow so far.
    pub fn struck(&self) -> i32 {
        let mut bytes = [0; 4];
        self.orders.read_exact_at(&mut bytes, 12).unwrap();
        i32::from_ne_bytes(bytes)
    }
}
