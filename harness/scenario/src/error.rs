//! Errors of scenarios: what is wrong, where, and what to do.

use super::Problem;
use crate::given::Unreadable;
use crate::yaml::line_and_column;
use std::path::PathBuf;
use std::sync::Arc;

/// An error of a scenario. The user can fix all of these.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("{} cannot be read: {why}", path.display())]
    #[diagnostic(help("name a scenario's file; they are described in scenarios/README.md"))]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: Unreadable,
    },
    /// The text is no scenario, or not a valid one.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// Column, in characters, from 1.
        column: u64,
        /// The message.
        message: String,
        /// Advice.
        #[help]
        help: Option<String>,
        /// The text of the file.
        #[source_code]
        text: Arc<miette::NamedSource<String>>,
        /// The place in the text.
        #[label("here")]
        at: miette::SourceSpan,
    },
    /// A `--set` that does not fit the scenario.
    #[error("--set {key}={value}: {message}")]
    Set {
        /// The name of the parameter, or the path of the field.
        key: String,
        /// The value as written.
        value: String,
        /// The message.
        message: String,
        /// Advice.
        #[help]
        help: Option<String>,
    },
    /// The scenario has no such control.
    #[error("{}: there is no control `{name}`", path.display())]
    NoControl {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
        /// Advice.
        #[help]
        help: Option<String>,
    },
    /// The scenario is not valid, and is in no file.
    #[error("{problem}")]
    #[diagnostic(help("{}", problem.help.as_deref().unwrap_or(FIELDS)))]
    Nonsense {
        /// The problem.
        problem: Problem,
    },
}

/// The help where there is none of its own.
const FIELDS: &str = "every field is described in scenarios/README.md";

impl From<Problem> for ScenarioError {
    fn from(problem: Problem) -> Self {
        Self::Nonsense { problem }
    }
}

/// The text of a scenario's file.
#[derive(Debug, Clone)]
pub(super) struct SourceText {
    pub(super) path: PathBuf,
    text: Arc<miette::NamedSource<String>>,
}

impl SourceText {
    pub(super) fn new(path: PathBuf, text: &str) -> Self {
        let text = Arc::new(miette::NamedSource::new(path.display().to_string(), text.to_owned()));
        Self { path, text }
    }

    pub(super) fn text(&self) -> &str {
        self.text.inner()
    }

    /// Returns an error at a byte of the text.
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

impl ScenarioError {
    /// Returns the advice.
    pub(super) fn help(self) -> Option<String> {
        match self {
            Self::Read { .. } => None,
            Self::Invalid { help, .. } | Self::Set { help, .. } | Self::NoControl { help, .. } => help,
            Self::Nonsense { problem } => problem.help,
        }
    }
}
