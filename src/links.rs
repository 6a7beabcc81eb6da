//! Guards against links that others made, and against directories that others may write to: whoever can
//! make a link where counterd writes must not choose the file that counterd writes to.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;

/// Makes an opening fail on a link. It is a flag for files whose names counterd itself chooses.
pub const NO_LINK: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// More links in a row are a circle, as for the kernel.
const MOST_LINKS: usize = 40;

/// Returns where `path` leads. A link is followed if it is this user's, root's or the directory's owner's;
/// that is what the kernel demands in directories such as `/tmp`.
///
/// # Errors
/// When a link is somebody else's, or cannot be read.
pub fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match path.symlink_metadata() {
            Ok(there) if there.is_symlink() => {
                let dir = directory_of(&path);
                let trusted = [0, geteuid().as_raw(), dir.metadata()?.uid()];
                if !trusted.contains(&there.uid()) {
                    return Err(io::Error::other(format!(
                        "{} is a link that user {} made; it is not followed",
                        path.display(),
                        there.uid()
                    )));
                }
                let target = dir.join(std::fs::read_link(&path)?);
                // A link of /proc to what has no name, such as the pipe behind /dev/stdout.
                if target.symlink_metadata().is_err() && path.metadata().is_ok() {
                    return Ok(path);
                }
                path = target;
            }
            // One that is not there yet is made.
            Ok(_) | Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many links, one behind the other"))
}

/// Returns the directory that `path` lies in.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        Some(_) | None => Path::new("."),
    }
}

/// Returns the mode of a directory that everybody may write to; `None` where only its owner and group may,
/// or where it is not there.
pub fn others_may_write(dir: &Path) -> Option<u32> {
    let mode = dir.metadata().ok()?.mode() & 0o7777;
    (mode & 0o002 != 0).then_some(mode)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn a_link_to_what_has_no_name_stays() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
        assert_eq!(followed(&path).unwrap(), path);
    }
}
