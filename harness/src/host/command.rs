//! Running a program. Its error is reported in its own words.

use std::ffi::OsStr;
use std::process::{Output, Stdio};
use tokio::process::Command;

/// An error in running a program.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum CommandError {
    /// It could not be started.
    #[error("{program} could not be started: {source}")]
    Start {
        /// The program.
        program: String,
        /// The cause.
        source: std::io::Error,
    },
    /// It failed.
    #[error("`{line}` ended with {status}:\n{words}")]
    Failed {
        /// The command line.
        line: String,
        /// The exit status.
        status: std::process::ExitStatus,
        /// The end of what it wrote.
        words: String,
    },
}

/// Runs a program to its end; its standard output. It ends with this process's interest in it.
pub(crate) async fn run<A: AsRef<OsStr>>(
    program: &OsStr,
    arguments: &[A],
    started: impl FnOnce(u32),
) -> Result<String, CommandError> {
    let name = program.to_string_lossy().into_owned();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own: a Ctrl-C on the terminal is this program's to handle, not its children's.
    command.process_group(0).kill_on_drop(true);
    let child = command.spawn().map_err(|source| CommandError::Start { program: name.clone(), source })?;
    if let Some(pid) = child.id() {
        started(pid);
    }
    let output: Output = child
        .wait_with_output()
        .await
        .map_err(|source| CommandError::Start { program: name.clone(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = words.lines().collect();
    let line = arguments
        .iter()
        .fold(name, |line, argument| format!("{line} {}", argument.as_ref().to_string_lossy()));
    // Programs that are written in Go put their error before a stack trace.
    let trace = lines.iter().position(|line| line.starts_with("Stack Trace")).unwrap_or(lines.len());
    let words = lines[trace.saturating_sub(20)..trace].join("\n");
    Err(CommandError::Failed { line, status: output.status, words })
}
