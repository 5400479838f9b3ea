//! What the probe does for the tier: a queue's directory made writable, and taken away afterwards.

use std::io;
use std::path::Path;

/// Gives a directory to a user and a group, and closes it to others.
///
/// A kubelet makes a host path's directory as root's; the Collector runs as another user.
pub fn give(path: &Path, user: u32, group: u32) -> io::Result<()> {
    use std::os::unix::fs::{PermissionsExt, chown};
    std::fs::create_dir_all(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o750))?;
    chown(path, Some(user), Some(group))
}

/// Makes sure that files can be kept in a directory, which is made if it is not there.
pub fn writable(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    let trial = path.join("writable");
    std::fs::write(&trial, b"")?;
    std::fs::remove_file(&trial)
}

/// Removes a directory with everything in it. One that is not there is as it should be.
pub fn sweep(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
