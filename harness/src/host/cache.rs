//! The folder of everything that is kept between runs.

use std::path::PathBuf;

/// Returns the folder of everything that is kept between runs.
pub fn cache_dir() -> PathBuf {
    let of = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    of("SPANPROOF_CACHE").unwrap_or_else(|| {
        let base = of("XDG_CACHE_HOME").or_else(|| of("HOME").map(|home| home.join(".cache")));
        base.unwrap_or_else(std::env::temp_dir).join("spanproof")
    })
}
