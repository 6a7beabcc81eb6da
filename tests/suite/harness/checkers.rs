//! What tests need and is no package of Debian's: `script/setup` installs it into the cache. Most of it judges files of
//! `deploy/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The directory of the checkers; none, and why, where they are not installed.
pub fn checkers() -> Result<PathBuf, String> {
    tools("checkers")
        .filter(|dir| dir.join("versions").is_file())
        .ok_or_else(|| {
            "script/test installs the checkers of deploy/, which are not here".to_owned()
        })
}

/// The program of Valkey's server; none, and why, where it is not installed.
pub fn valkey() -> Result<PathBuf, String> {
    tools("valkey")
        .filter(|dir| dir.join("version").is_file())
        .map(|dir| dir.join("valkey-server"))
        .ok_or_else(|| "script/test installs Valkey, which is not here".to_owned())
}

fn tools(name: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    cache.map(|cache| cache.join("counterd/tools").join(name))
}

/// What the compiler of TypeScript says of that text, in strict mode; nothing when all is well.
pub fn compiled(checkers: &Path, text: &str) -> String {
    let home = beside(checkers);
    std::fs::write(home.path().join("checked.ts"), text).unwrap();
    let done = Command::new(checkers.join("node_modules/.bin/tsc"))
        .args([
            "--noEmit",
            "--strict",
            "--skipLibCheck",
            "--target",
            "es2022",
        ])
        .args(["--module", "nodenext", "--moduleResolution", "nodenext"])
        .arg("checked.ts")
        .current_dir(home.path())
        .output()
        .unwrap();
    let told = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.success(), told.is_empty(), "{:?}", done.stderr);
    told
}

/// Runs a module of JavaScript, which may use the packages of the checkers.
pub fn run_by_node(checkers: &Path, module: &str) -> Output {
    let home = beside(checkers);
    let path = home.path().join("run.mjs");
    std::fs::write(&path, module).unwrap();
    Command::new("node").arg(path).output().unwrap()
}

/// Whether a manifest is one of Kubernetes, field for field, and what is said of it.
pub fn validated_by_kubernetes(checkers: &Path, manifest: &Path) -> (bool, String) {
    let done = Command::new("/usr/bin/python3")
        .args(["-m", "kubernetes_validate", "--strict"])
        .arg(manifest)
        .env("PYTHONPATH", checkers.join("python"))
        .output()
        .unwrap();
    let told = [done.stdout, done.stderr].concat();
    (
        done.status.success(),
        String::from_utf8_lossy(&told).into_owned(),
    )
}

/// A directory in which the packages are found.
fn beside(checkers: &Path) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let packages = home.path().join("node_modules");
    std::os::unix::fs::symlink(checkers.join("node_modules"), packages).unwrap();
    std::fs::write(home.path().join("package.json"), "{\"type\":\"module\"}").unwrap();
    home
}
