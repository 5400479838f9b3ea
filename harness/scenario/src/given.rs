//! Files that the user names. Only regular files of a limited size are read, so that reading always ends.

use std::fs::{File, FileType, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 16 << 20;
/// The largest file that people write by hand, in bytes: a scenario, a configuration.
const LARGEST_BY_HAND: u64 = 1 << 20;
/// The largest total size of files that refer to each other, in bytes.
const LARGEST_TREE: u64 = 64 << 20;
/// The largest number of such files, since each could be empty.
const MOST_FILES: u32 = 4_096;

/// The reason why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// An error of the operating system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no regular file: it may have no end, or no content.
    #[error("this is {0}, not a file")]
    NoFile(&'static str),
    /// The file is too large.
    #[error("it is larger than {} MiB, the limit", .0 >> 20)]
    TooLarge(u64),
    /// Files that refer to each other are too many, or too large together.
    #[error("with it there are more than {MOST_FILES} files, or {} MiB, to read", LARGEST_TREE >> 20)]
    TooMuch,
    /// The file is not text in UTF-8.
    #[error("this is not text: the byte at {0} is not valid UTF-8")]
    NoText(usize),
}

impl Unreadable {
    /// Returns whether the file does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads a file.
pub fn bytes(path: &Path) -> Result<Vec<u8>, Unreadable> {
    bytes_up_to(LARGEST, path)
}

/// Reads a file of at most `largest` bytes.
pub fn bytes_up_to(largest: u64, path: &Path) -> Result<Vec<u8>, Unreadable> {
    // Before it is opened: opening a pipe would wait for a writer.
    regular(&std::fs::metadata(path)?, largest)?;
    let file = File::open(path)?;
    regular(&file.metadata()?, largest)?;
    let mut bytes = Vec::new();
    // A file may grow while it is read, and files of the kernel do not report their size.
    file.take(largest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > largest { Err(Unreadable::TooLarge(largest)) } else { Ok(bytes) }
}

/// Reads a text file.
pub fn text(path: &Path) -> Result<String, Unreadable> {
    as_text(bytes(path)?)
}

/// Reads a text file that people write by hand.
pub fn short_text(path: &Path) -> Result<String, Unreadable> {
    as_text(bytes_up_to(LARGEST_BY_HAND, path)?)
}

fn as_text(bytes: Vec<u8>) -> Result<String, Unreadable> {
    String::from_utf8(bytes).map_err(|error| Unreadable::NoText(error.utf8_error().valid_up_to()))
}

/// Checks that a path, after following links, is a file that can be read.
pub fn readable(path: &Path) -> Result<(), Unreadable> {
    readable_up_to(LARGEST, path)
}

/// Checks that a file of at most `largest` bytes can be read to its end, and does not read it.
pub fn readable_up_to(largest: u64, path: &Path) -> Result<(), Unreadable> {
    regular(&std::fs::metadata(path)?, largest)
}

fn regular(it: &Metadata, largest: u64) -> Result<(), Unreadable> {
    if !it.is_file() {
        return Err(Unreadable::NoFile(kind(it.file_type())));
    }
    if it.len() > largest { Err(Unreadable::TooLarge(largest)) } else { Ok(()) }
}

fn kind(it: FileType) -> &'static str {
    if it.is_dir() {
        "a folder"
    } else if it.is_fifo() {
        "a pipe"
    } else if it.is_socket() {
        "a socket"
    } else if it.is_char_device() || it.is_block_device() {
        "a device"
    } else {
        "something else"
    }
}

/// Files that refer to each other, with the number and size of those read.
#[derive(Debug, Default)]
pub struct Tree {
    files: u32,
    bytes: u64,
}

impl Tree {
    /// Reads one more of its text files.
    pub fn text(&mut self, path: &Path) -> Result<String, Unreadable> {
        self.files += 1;
        if self.files > MOST_FILES {
            return Err(Unreadable::TooMuch);
        }
        let text = text(path)?;
        self.bytes += text.len() as u64;
        if self.bytes > LARGEST_TREE { Err(Unreadable::TooMuch) } else { Ok(text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ends_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("good"), "a: 1").unwrap();
        assert_eq!(text(&path("good")).unwrap(), "a: 1");
        std::os::unix::fs::symlink("good", path("link")).unwrap();
        assert_eq!(text(&path("link")).unwrap(), "a: 1", "a link is what it leads to");

        std::fs::write(path("binary"), [b'a', 0xff]).unwrap();
        std::fs::write(path("large"), vec![b' '; usize::try_from(LARGEST).unwrap() + 1]).unwrap();
        std::os::unix::fs::symlink("loop", path("loop")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        let zero = Path::new("/dev/zero").to_owned();
        for (path, words) in [
            (path("binary"), "byte at 1"),
            (path("large"), "larger than 16 MiB"),
            (path("loop"), "symbolic links"),
            (path("socket"), "a socket"),
            (path("pipe"), "a pipe"),
            (path(""), "a folder"),
            (zero, "a device"),
        ] {
            let refused = text(&path).unwrap_err().to_string();
            assert!(refused.contains(words), "{}: {refused}", path.display());
        }
        assert!(text(&path("missing")).unwrap_err().is_missing());
    }

    #[test]
    fn files_that_lead_to_each_other_come_to_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "").unwrap();
        let mut tree = Tree::default();
        let refused = (0..=MOST_FILES).find_map(|_| tree.text(&path).err()).unwrap();
        assert!(matches!(refused, Unreadable::TooMuch), "{refused}");
    }
}
