//! The manifests that are a part of this program, so that it needs no checkout of its repository.

use super::manifest::{ManifestError, error};
use include_dir::{Dir, DirEntry, File, include_dir};
use std::path::{Path, PathBuf};

static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../manifests");

/// Writes the embedded manifests to a folder below `cache` and returns it.
///
/// The folder's name follows from the content, so two versions of the program do not share it. Files in it that
/// differ from the embedded ones are replaced.
pub(super) fn unpack(cache: &Path) -> Result<PathBuf, ManifestError> {
    let files = files(&EMBEDDED);
    let folder = cache.join("manifests").join(digest(&files));
    for file in files {
        let path = folder.join(file.path());
        write(&path, file.contents()).map_err(|e| error(&path, format!("cannot be written: {e}")))?;
    }
    Ok(folder)
}

/// Returns every file below a folder, in a fixed order.
fn files<'a>(dir: &'a Dir<'a>) -> Vec<&'a File<'a>> {
    let below = |entry: &'a DirEntry<'a>| match entry {
        DirEntry::Dir(dir) => files(dir),
        DirEntry::File(file) => vec![file],
    };
    dir.entries().iter().flat_map(below).collect()
}

/// The CRC-32 of all paths and contents, in hexadecimal digits.
fn digest(files: &[&File<'_>]) -> String {
    let mut crc = crc32fast::Hasher::new();
    for file in files {
        for part in [file.path().as_os_str().as_encoded_bytes(), file.contents()] {
            crc.update(&(part.len() as u64).to_le_bytes());
            crc.update(part);
        }
    }
    format!("{:08x}", crc.finalize())
}

/// Writes a file whole or not at all: another process may read it at the same time.
fn write(path: &Path, contents: &[u8]) -> std::io::Result<()> {
    if std::fs::read(path).is_ok_and(|there| there == contents) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    std::fs::write(&partial, contents)?;
    std::fs::rename(&partial, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The files below a folder: their paths in it, and their contents.
    fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut open = vec![folder.to_owned()];
        while let Some(next) = open.pop() {
            for entry in std::fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let name = path.strip_prefix(folder).unwrap().to_owned();
                    found.insert(name, std::fs::read(path).unwrap());
                }
            }
        }
        found
    }

    #[test]
    fn what_is_embedded_is_what_the_repository_has() {
        let cache = tempfile::tempdir().unwrap();
        let folder = unpack(cache.path()).unwrap();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("manifests");
        assert_eq!(contents(&folder), contents(&repository));
    }

    #[test]
    fn a_changed_file_is_replaced() {
        let cache = tempfile::tempdir().unwrap();
        let folder = unpack(cache.path()).unwrap();
        let before = contents(&folder);
        std::fs::write(folder.join("gateway/hpa.yaml"), "kind: Nothing").unwrap();
        std::fs::remove_file(folder.join("gateway/pdb.yaml")).unwrap();
        assert_eq!(unpack(cache.path()).unwrap(), folder);
        assert_eq!(contents(&folder), before);
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_named() {
        let cache = tempfile::NamedTempFile::new().unwrap();
        let refused = unpack(cache.path()).unwrap_err().to_string();
        assert!(refused.contains("cannot be written") && refused.contains("manifests"), "{refused}");
    }
}
