//! Builds the crate again when a manifest is added or removed: the macro that embeds them notices changed files only.

fn main() {
    println!("cargo::rerun-if-changed=../manifests");
}
