//! What is wrong with a scenario, where, and what to do.

use super::Problem;
use super::place::meant;
use serde_saphyr::Error as YamlError;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a scenario cannot be used. All of these are the user's to mend.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not a scenario, or one that makes no sense.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// What is wrong.
        message: String,
        /// What to do.
        #[help]
        help: Option<String>,
        /// The file's text.
        #[source_code]
        text: Arc<miette::NamedSource<String>>,
        /// The place in it.
        #[label("here")]
        at: miette::SourceSpan,
    },
    /// A `--set` that does not fit.
    #[error("--set {key}={value}: {message}")]
    Set {
        /// The parameter, or the field with dots.
        key: String,
        /// The value, as it was written.
        value: String,
        /// What is wrong with it.
        message: String,
        /// What to do.
        #[help]
        help: Option<String>,
    },
    /// There is no such control.
    #[error("{}: there is no control `{name}`", path.display())]
    NoControl {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
        /// What to do.
        #[help]
        help: Option<String>,
    },
    /// It makes no sense, and is in no file.
    #[error("{problem}")]
    #[diagnostic(help("{}", problem.help.as_deref().unwrap_or(FIELDS)))]
    Nonsense {
        /// What is wrong.
        problem: Problem,
    },
}

/// Where there is nothing better to say.
const FIELDS: &str = "every field is described in scenarios/README.md";

impl From<Problem> for ScenarioError {
    fn from(problem: Problem) -> Self {
        Self::Nonsense { problem }
    }
}

/// What the YAML library found, in the words of this project, and what to do.
pub(super) fn told(error: &YamlError) -> (String, Option<String>) {
    let text = match error.without_snippet() {
        YamlError::SerdeUnknownField { field, expected, .. } => {
            let help = meant(field, expected.iter().copied());
            return (format!("there is no field `{field}` here"), Some(help));
        }
        YamlError::SerdeUnknownVariant { variant, expected, .. } => {
            let help = meant(variant, expected.iter().copied());
            return (format!("there is no `{variant}` that could stand here"), Some(help));
        }
        YamlError::SerdeMissingField { field, .. } => {
            return (format!("the field `{field}` is missing here"), None);
        }
        YamlError::InvalidScalar { ty, .. } => match *ty {
            ty if ty.starts_with("bool") => "`true` or `false` must stand here",
            ty if ty.starts_with('u') => "a whole number must stand here",
            _ => "a number must stand here",
        },
        YamlError::Unexpected { expected: "mapping start", .. } => "fields must stand here: `name: value`",
        YamlError::Unexpected { expected: "sequence start", .. } => "a list must stand here",
        YamlError::Unexpected { expected: "string scalar", .. } => "a single value must stand here",
        YamlError::ExpectedMappingEndAfterEnumVariantValue { .. } => {
            "only one of these can be in one place: in a list, begin each with `-`"
        }
        YamlError::Eof { .. } => "there is nothing",
        YamlError::MultipleDocuments { .. } => "a file holds one scenario",
        other => {
            // The place is said in front, and the library says it again.
            let text = other.to_string();
            let text = text.split(" at line ").next().unwrap_or(&text).split(", set DuplicateKey").next();
            return (text.unwrap_or_default().trim_end_matches([',', ' ']).to_owned(), None);
        }
    };
    (text.to_owned(), None)
}

/// A scenario's text, as it is in its file.
#[derive(Debug, Clone)]
pub(super) struct Page {
    pub(super) path: PathBuf,
    text: Arc<miette::NamedSource<String>>,
}

impl Page {
    pub(super) fn new(path: PathBuf, text: &str) -> Self {
        let text = Arc::new(miette::NamedSource::new(path.display().to_string(), text.to_owned()));
        Self { path, text }
    }

    pub(super) fn text(&self) -> &str {
        self.text.inner()
    }

    /// Something that is wrong at a byte of the text.
    pub(super) fn invalid(
        &self,
        at: usize,
        message: impl Into<String>,
        help: Option<String>,
    ) -> ScenarioError {
        let (line, column) = line_and_column(self.text(), at);
        ScenarioError::Invalid {
            path: self.path.clone(),
            line,
            column,
            message: message.into(),
            help: help.or_else(|| Some(FIELDS.to_owned())),
            at: at.min(self.text().len().saturating_sub(1)).into(),
            text: self.text.clone(),
        }
    }
}

/// Where a byte is: line and column, both from 1, and columns in characters.
fn line_and_column(text: &str, at: usize) -> (u64, u64) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    (line as u64 + 1, column as u64 + 1)
}

/// The byte at which a line and column are, both from 1.
pub(super) fn byte_at(text: &str, line: u64, column: u64) -> usize {
    let index = |n: u64| usize::try_from(n.saturating_sub(1)).unwrap_or(usize::MAX);
    let before: usize = text.split_inclusive('\n').take(index(line)).map(str::len).sum();
    let rest = &text[before.min(text.len())..];
    let within: usize = rest.chars().take(index(column)).map(char::len_utf8).sum();
    before + within
}

impl ScenarioError {
    /// What to do.
    pub(super) fn help(self) -> Option<String> {
        match self {
            Self::Read { .. } => None,
            Self::Invalid { help, .. } | Self::Set { help, .. } | Self::NoControl { help, .. } => help,
            Self::Nonsense { problem } => problem.help,
        }
    }
}
