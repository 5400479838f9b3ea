//! The values of `--set KEY=VALUE`.

/// Splits a setting into its key and its value.
pub(super) fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    if key.trim().is_empty() {
        return Err("write what is set in front of the `=`: KEY=VALUE".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}
