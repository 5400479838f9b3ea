//! Directories on a node's disk, for the tier's queues and for the probe's own files.

use std::io;
use std::path::Path;

/// Creates a directory if it is missing, makes a user and a group its owner, and closes it to others.
///
/// A kubelet creates a host path's directory as root; the Collector runs as another user.
pub fn give(path: &Path, user: u32, group: u32) -> io::Result<()> {
    use std::os::unix::fs::{PermissionsExt, chown};
    std::fs::create_dir_all(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o750))?;
    chown(path, Some(user), Some(group))
}

/// Checks that files can be written to a directory, which is created if it is missing.
pub fn writable(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    let trial = path.join("writable");
    std::fs::write(&trial, b"")?;
    std::fs::remove_file(&trial)
}

/// Removes a directory with its content. A missing one is no error.
pub fn sweep(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
