//! Undoing one thing after the other, and looking at each afterwards: one that fails does not stop the others.

use super::{Became, Line};
use crate::progress;
use crate::undo::{Did, Undo, UndoContext, UndoError};
use std::time::Duration;
use tokio::time::Instant;

/// How often an undoing is tried.
const TRIES: u32 = 3;
/// How long it is between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// How long it may take until what was undone is seen to be.
const SEEN_WITHIN: Duration = Duration::from_secs(30);
/// How long it is between two looks.
const LOOKS: Duration = Duration::from_millis(250);

/// Undoes each in this order, then looks at each.
pub(super) async fn replay(undos: &[Undo], context: &UndoContext<'_>) -> Vec<Line> {
    let (mut tried, mut lines) = (Vec::new(), Vec::new());
    for undo in undos {
        tracing::info!(target: progress::TARGET, "undoing {}", undo.describe());
        tried.push(attempt(undo, context).await);
    }
    for (undo, tried) in undos.iter().zip(tried) {
        let left = look(undo, context, tried.is_ok()).await;
        lines.push(Line { what: undo.describe(), became: became(tried, left) });
    }
    lines
}

async fn attempt(undo: &Undo, context: &UndoContext<'_>) -> Result<Did, UndoError> {
    let until = Instant::now() + undo.patience();
    let mut attempt = 1;
    loop {
        let tried = tokio::time::timeout_at(until, undo.undo(context)).await;
        let tried = tried.unwrap_or_else(|_| Err(UndoError::Deadline(undo.patience())));
        let waited = tried.as_ref().is_err_and(UndoError::has_waited);
        if tried.is_ok() || waited || attempt == TRIES || Instant::now() + PAUSE > until {
            return tried;
        }
        attempt += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// What is left of it; when it went well, it is waited for a while until nothing is.
async fn look(undo: &Undo, context: &UndoContext<'_>, undone: bool) -> Result<Option<String>, UndoError> {
    let until = Instant::now() + SEEN_WITHIN;
    loop {
        let looking = tokio::time::timeout(SEEN_WITHIN, undo.left(context, undone)).await;
        let left = looking.unwrap_or(Err(UndoError::Deadline(SEEN_WITHIN)));
        if matches!(left, Ok(None)) || !undone || Instant::now() > until {
            return left;
        }
        tokio::time::sleep(LOOKS).await;
    }
}

/// What the undoing and the look afterwards come to. What nothing is left of is undone, however that came about.
fn became(tried: Result<Did, UndoError>, left: Result<Option<String>, UndoError>) -> Became {
    match (tried, left) {
        (Ok(Did::Nothing), Ok(None)) => Became::WasUndone,
        (_, Ok(None)) => Became::Undone,
        (Err(error), _) | (_, Err(error)) => Became::Left(error.to_string()),
        (Ok(_), Ok(Some(left))) => Became::Left(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_decides() {
        let failed = || UndoError::Deadline(Duration::from_secs(1));
        let still = || Ok(Some("it is still there".to_owned()));
        assert_eq!(became(Ok(Did::Undid), Ok(None)), Became::Undone);
        assert_eq!(became(Ok(Did::Nothing), Ok(None)), Became::WasUndone);
        assert_eq!(became(Err(failed()), Ok(None)), Became::Undone, "it went with something else");
        assert_eq!(became(Ok(Did::Undid), still()), Became::Left("it is still there".to_owned()));
        let why = Became::Left(failed().to_string());
        assert_eq!(became(Err(failed()), still()), why, "the error says more");
        assert_eq!(became(Ok(Did::Undid), Err(failed())), why, "not seen is not undone");
    }
}
