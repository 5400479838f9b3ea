//! For people: what is going on, and the verdict.

use crate::judge::{Judgement, Verdict, grouped};
use crate::load::LoadStatus;
use crate::world::World;
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Without a terminal the state is a line every so often.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Says what is going on, on standard error: one line that changes on a terminal, plain lines with times
/// elsewhere.
#[derive(Debug, Clone)]
pub struct Progress {
    began: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// For the standard error that there is.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { began: Instant::now(), bar }
    }

    /// Something happened: a line that stays.
    pub fn say(&self, message: &str) {
        let line = format!("{:>7.1}s  {message}", self.began.elapsed().as_secs_f64());
        match &self.bar {
            Some(bar) => bar.println(line),
            // A reader that went away is no reason to stop.
            None => drop(writeln!(std::io::stderr(), "{line}")),
        }
    }

    /// The line that changes is gone.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// Shows how load and gateways stand, until it is aborted.
pub(crate) async fn show(
    progress: Progress,
    mut load: watch::Receiver<LoadStatus>,
    world: watch::Receiver<World>,
) {
    let mut said = Instant::now();
    while load.changed().await.is_ok() {
        let now = load.borrow_and_update().clone();
        let ready = world.borrow().ready("gateway");
        let line = format!(
            "acknowledged {} · delivered {} · duplicated {} · queued {} · gateways ready {ready}",
            grouped(now.acknowledged),
            grouped(now.delivered),
            grouped(now.duplicated),
            now.queued(1).map_or_else(|| "?".to_owned(), |bytes| format!("{:.0} kB", bytes / 1e3)),
        );
        match &progress.bar {
            Some(bar) => bar.set_message(line),
            None if said.elapsed() >= PLAIN_EVERY => {
                said = Instant::now();
                progress.say(&line);
            }
            None => {}
        }
    }
}

/// The verdict, for a terminal.
pub fn verdict(judgement: &Judgement) -> String {
    let spans = &judgement.spans;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let control = judgement.control.as_ref();
    let which = control.map_or_else(String::new, |control| format!(", control {}", control.name));
    let (verdict, seed) = (word(judgement.verdict), judgement.seed);
    let _ = writeln!(text, "{}{which}: {verdict}  (seed {seed})", judgement.scenario);
    let left_out = match spans.not_sampled {
        0 => String::new(),
        spans => format!(" · not sampled {}", grouped(spans)),
    };
    let _ = writeln!(
        text,
        "acknowledged {} · lost {} · duplicated {}{left_out}",
        grouped(spans.acknowledged),
        grouped(spans.lost),
        grouped(spans.duplicated)
    );
    for check in &judgement.checks {
        let _ = writeln!(text, "  {:<12} {:<15} {}", word(check.verdict), check.name, check.reason);
    }
    // One that shows nothing is among the checks.
    if let Some(control) = control.filter(|control| control.verdict != Verdict::Inconclusive) {
        let colour = if control.verdict == Verdict::Pass { "RED" } else { "NOT RED" };
        let _ = writeln!(text, "  {colour:<12} control         {}", control.reason);
    }
    if !judgement.usage.is_empty() {
        let used = judgement.usage.iter().map(|(app, usage)| {
            let memory = Some(usage.memory_mib).filter(|mib| *mib > 0.0);
            let memory = memory.map_or_else(String::new, |mib| format!(" ({mib:.0} MiB)"));
            format!("{app} {:.3}{memory}", usage.cores)
        });
        let _ = writeln!(text, "  cores used: {}", used.collect::<Vec<_>>().join(" · "));
    }
    for fault in &judgement.faults {
        let (landed, healed) = (fault.landed, fault.healed);
        let _ = writeln!(
            text,
            "  {:>6.1}s – {:>6.1}s  {} {}{}{}",
            fault.start,
            fault.end,
            fault.name,
            fault.target,
            if landed { "" } else { ", not seen to land" },
            if healed { "" } else { ", not seen to heal" },
        );
    }
    text
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Inconclusive => "INCONCLUSIVE",
    }
}
