//! Compiles the control protocol, and takes a fingerprint of what the probe is made of.
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{error, fs, io};

fn main() -> Result<(), Box<dyn error::Error>> {
    let descriptors = protox::compile(["proto/control.proto"], ["proto"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;

    // A harness and a probe of different sources may not understand each other: they compare this.
    let mut files = Vec::new();
    for dir in ["src", "proto", "../ledger/src"] {
        println!("cargo:rerun-if-changed={dir}");
        collect(Path::new(dir), &mut files)?;
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.hash(&mut hasher);
        fs::read(&file)?.hash(&mut hasher);
    }
    println!("cargo:rustc-env=SPANPROOF_PROBE_SOURCES={:016x}", hasher.finish());
    Ok(())
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
