//! A run that died, found and restored.

use super::found::found;
use super::replay::replay;
use super::{RestoreError, RestoreOutcome, RestoreReport, RestoredItem};
use crate::cluster;
use crate::journal::{self, Header, Journal, JournalError};
use crate::location::Location;
use crate::progress;
use crate::undo::{Undo, UndoContext};
use std::path::Path;

/// A run that left something, or may have.
#[derive(Debug)]
pub struct DeadRun {
    header: Header,
    /// The journal; none if its folder is gone, or it cannot be read.
    journal: Option<Journal>,
    /// The error in reading the journal.
    unreadable: Option<JournalError>,
}

/// The runs that left something open, or the one that is asked for: by its folder, or by its name. A run folder without
/// a journal has nothing to undo.
pub fn find(run: Option<&str>) -> Result<Vec<Result<DeadRun, JournalError>>, RestoreError> {
    let Some(run) = run else {
        return Ok(all()?);
    };
    let folder = Path::new(run);
    if folder.join("timeline.jsonl").is_file() {
        let journal = Journal::reopen(folder)?;
        let dead = |journal: Journal| DeadRun {
            header: journal.header().clone(),
            journal: Some(journal),
            unreadable: None,
        };
        return Ok(journal.map(dead).map(Ok).into_iter().collect());
    }
    let mut all = all()?;
    let name = |dead: &Result<DeadRun, JournalError>| {
        dead.as_ref().map_or_else(|_| String::new(), |it| it.name().to_owned())
    };
    let known: Vec<_> = all.iter().map(name).filter(|name| !name.is_empty()).collect();
    all.retain(|dead| name(dead) == run);
    if all.is_empty() {
        let known = if known.is_empty() {
            "no run left anything open".to_owned()
        } else {
            format!("runs that left something open: {}", known.join(", "))
        };
        return Err(RestoreError::Unknown { run: run.to_owned(), known });
    }
    Ok(all)
}

fn all() -> Result<Vec<Result<DeadRun, JournalError>>, JournalError> {
    let pointed = journal::open_runs()?.into_iter().map(|pointed| {
        let pointed = pointed?;
        let (journal, unreadable) = match pointed.journal {
            Ok(journal) => (journal, None),
            Err(error) => (None, Some(error)),
        };
        Ok(DeadRun { header: pointed.header, journal, unreadable })
    });
    Ok(pointed.collect())
}

impl DeadRun {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.header.run
    }

    /// Returns its cluster's location.
    pub const fn location(&self) -> &Location {
        &self.header.cluster
    }

    fn nothing(&self) -> RestoreReport {
        RestoreReport { run: self.header.run.clone(), items: Vec::new(), problem: None }
    }

    /// Undoes what it left, under its cluster's lock.
    pub async fn restore(&self, manifests: &Path) -> Result<RestoreReport, RestoreError> {
        if self.journal.as_ref().is_some_and(|journal| journal.to_undo().is_empty()) {
            return Ok(self.nothing());
        }
        let (process, run) = (&self.header.process, self.header.run.clone());
        if process.is_alive() == Some(true) {
            return Err(RestoreError::StillGoing { run, pid: process.pid });
        }
        let reached = cluster::reach(self.location()).await.map_err(Box::new)?;
        let Some(reached) = reached else {
            tracing::info!(target: progress::TARGET, "{} is gone, with everything in it", self.location());
            return Ok(self.gone()?);
        };
        let context = UndoContext { client: reached.client(), manifests, images: reached.images() };
        let mut restored = self.undo(&context).await;
        if let Err(error) = reached.release().await {
            restored.problem.get_or_insert(error.to_string());
        }
        Ok(restored)
    }

    /// Closes everything: its cluster is gone, with all that was left in it.
    pub(super) fn gone(&self) -> Result<RestoreReport, JournalError> {
        let open = self.journal.iter().flat_map(Journal::to_undo);
        let items = open
            .map(|open| RestoredItem { what: open.describe(), outcome: RestoreOutcome::AlreadyUndone })
            .collect();
        match &self.journal {
            Some(journal) => journal.close_with_cluster()?,
            None => journal::forget(&self.header.run)?,
        }
        Ok(RestoreReport { items, ..self.nothing() })
    }

    /// Undoes what its journal has open, then whatever carries its label or annotation.
    pub(super) async fn undo(&self, context: &UndoContext<'_>) -> RestoreReport {
        let mut restored = self.nothing();
        restored.problem = self.unreadable.as_ref().map(ToString::to_string);
        let open = self.journal.as_ref().map(Journal::to_undo).unwrap_or_default();
        let mut tried: Vec<Undo> = open.iter().filter_map(|open| open.undo.clone().ok()).collect();
        let mut lines = replay(&tried, context).await.into_iter();
        for open in &open {
            let line = match &open.undo {
                Ok(_) => lines.next(),
                Err(why) => {
                    Some(RestoredItem { what: open.describe(), outcome: RestoreOutcome::Left(why.clone()) })
                }
            };
            let Some(line) = line else { continue };
            if let (false, Some(journal)) = (line.is_left(), &self.journal)
                && let Err(error) = journal.close(open.n, &line.outcome.to_string())
            {
                restored.problem = Some(error.to_string());
            }
            restored.items.push(line);
        }
        self.sweep(&mut tried, &mut restored, context).await;
        if self.journal.is_none()
            && restored.is_whole()
            && let Err(error) = journal::forget(&self.header.run)
        {
            restored.problem = Some(error.to_string());
        }
        restored
    }

    async fn sweep(&self, tried: &mut Vec<Undo>, restored: &mut RestoreReport, context: &UndoContext<'_>) {
        let mut rest = match found(context.client, Some(&self.header.run)).await {
            Ok(rest) => rest,
            Err(error) => {
                restored.problem =
                    Some(format!("the search for objects with the run's label failed: {error}"));
                Vec::new()
            }
        };
        if self.journal.is_none() {
            // Nobody knows whether the nodes were swept.
            rest.push(Undo::namespace(&self.header.run));
        }
        rest.retain(|undo| {
            let new = !tried.contains(undo);
            if new {
                tried.push(undo.clone());
            }
            new
        });
        restored.items.extend(replay(&rest, context).await);
    }
}
