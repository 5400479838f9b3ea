//! Undoing one item after the other, and looking at each afterwards. A failure does not stop the others.

use super::{RestoreOutcome, RestoredItem};
use crate::progress;
use crate::undo::{Undo, UndoContext, UndoError, UndoOutcome};
use backon::{ConstantBuilder, Retryable};
use std::time::Duration;
use tokio::time::Instant;

/// The number of attempts to undo something.
const TRIES: usize = 3;
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest time until an undo is seen to have worked.
const SEEN_WITHIN: Duration = Duration::from_secs(30);
/// The pause between two looks.
const LOOKS: Duration = Duration::from_millis(250);

/// Undoes each in this order, then looks at each.
pub(super) async fn replay(undos: &[Undo], context: &UndoContext<'_>) -> Vec<RestoredItem> {
    let (mut tried, mut lines) = (Vec::new(), Vec::new());
    for undo in undos {
        tracing::info!(target: progress::TARGET, "undoing {}", undo.describe());
        tried.push(attempt(undo, context).await);
    }
    for (undo, tried) in undos.iter().zip(tried) {
        let left = look(undo, context, tried.is_ok()).await;
        lines.push(RestoredItem { what: undo.describe(), outcome: outcome(tried, left) });
    }
    lines
}

async fn attempt(undo: &Undo, context: &UndoContext<'_>) -> Result<UndoOutcome, UndoError> {
    let until = Instant::now() + undo.timeout();
    let tried = || async {
        let tried = tokio::time::timeout_at(until, undo.undo(context)).await;
        tried.unwrap_or_else(|_| Err(UndoError::Deadline(undo.timeout())))
    };
    let pauses = ConstantBuilder::new().with_delay(PAUSE).with_max_times(TRIES - 1);
    let again = |error: &UndoError| !error.has_waited() && Instant::now() + PAUSE <= until;
    tried.retry(pauses).when(again).await
}

/// Returns what is left. After a successful undo it waits, for a limited time, until nothing is.
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

/// Combines the result of undoing with the look afterwards. Something of which nothing is left counts as undone,
/// whatever the cause.
fn outcome(tried: Result<UndoOutcome, UndoError>, left: Result<Option<String>, UndoError>) -> RestoreOutcome {
    match (tried, left) {
        (Ok(UndoOutcome::NothingToDo), Ok(None)) => RestoreOutcome::AlreadyUndone,
        (_, Ok(None)) => RestoreOutcome::Undone,
        (Err(error), _) | (_, Err(error)) => RestoreOutcome::Left(error.to_string()),
        (Ok(_), Ok(Some(left))) => RestoreOutcome::Left(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_decides() {
        let failed = || UndoError::Deadline(Duration::from_secs(1));
        let still = || Ok(Some("it is still there".to_owned()));
        assert_eq!(outcome(Ok(UndoOutcome::Undone), Ok(None)), RestoreOutcome::Undone);
        assert_eq!(outcome(Ok(UndoOutcome::NothingToDo), Ok(None)), RestoreOutcome::AlreadyUndone);
        assert_eq!(outcome(Err(failed()), Ok(None)), RestoreOutcome::Undone, "it went with something else");
        assert_eq!(
            outcome(Ok(UndoOutcome::Undone), still()),
            RestoreOutcome::Left("it is still there".to_owned())
        );
        let why = RestoreOutcome::Left(failed().to_string());
        assert_eq!(outcome(Err(failed()), still()), why, "the error says more");
        assert_eq!(outcome(Ok(UndoOutcome::Undone), Err(failed())), why, "not seen is not undone");
    }
}
