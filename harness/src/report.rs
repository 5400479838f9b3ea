//! Output for people: progress, and the verdict.

use crate::judge::{Judgement, Verdict, grouped};
use crate::load::LoadStatus;
use crate::progress;
use crate::world::World;
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// The interval of the status lines without a terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Shows the events of [`progress::TARGET`] and [`progress::STATUS`] on standard error: one line that changes on a
/// terminal, plain lines with times elsewhere.
#[derive(Debug, Clone)]
pub struct Progress {
    bar: Option<ProgressBar>,
    times: Arc<Mutex<Times>>,
}

#[derive(Debug)]
struct Times {
    began: Instant,
    /// The time of the last status line, or of the first status if there was no line yet.
    status: Option<Instant>,
}

impl Times {
    fn now() -> Self {
        Self { began: Instant::now(), status: None }
    }
}

impl Progress {
    /// Returns the progress of this process's standard error. Nothing is drawn before [`Self::begin`].
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise} {wide_msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, times: Arc::new(Mutex::new(Times::now())) }
    }

    /// The layer of a subscriber that shows these events, and no others.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        Shown(self.clone()).with_filter(Targets::new().with_target(progress::TARGET, Level::INFO))
    }

    /// Counts time from now on, and draws the line that changes.
    pub fn begin(&self) {
        *self.times.lock() = Times::now();
        if let Some(bar) = &self.bar {
            bar.reset();
            bar.enable_steady_tick(Duration::from_millis(120));
        }
    }

    /// Removes the line that changes.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Writes a line that stays.
    fn line(&self, began: Instant, message: &str) {
        let line = format!("{:>7.1}s  {message}", began.elapsed().as_secs_f64());
        match &self.bar {
            Some(bar) => bar.println(line),
            // A reader that went away is no reason to stop.
            None => drop(writeln!(std::io::stderr(), "{line}")),
        }
    }

    fn status(&self, message: String) {
        if let Some(bar) = &self.bar {
            return bar.set_message(message);
        }
        let mut times = self.times.lock();
        if times.status.get_or_insert_with(Instant::now).elapsed() >= PLAIN_EVERY {
            times.status = Some(Instant::now());
            self.line(times.began, &message);
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// The layer itself, without its filter.
struct Shown(Progress);

impl<S: Subscriber> Layer<S> for Shown {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (Self(progress), message) = (self, progress::message(event));
        if event.metadata().target() == progress::STATUS {
            progress.status(message);
        } else {
            progress.line(progress.times.lock().began, &message);
        }
    }
}

/// Reports the status of load and gateways, until it is aborted.
pub(crate) async fn tell_status(mut load: watch::Receiver<LoadStatus>, world: watch::Receiver<World>) {
    while load.changed().await.is_ok() {
        let now = load.borrow_and_update().clone();
        let ready = world.borrow().ready("gateway");
        tracing::info!(
            target: progress::STATUS,
            "acknowledged {} · delivered {} · duplicated {} · queued {} · gateways ready {ready}",
            grouped(now.acknowledged),
            grouped(now.delivered),
            grouped(now.duplicated),
            now.queued(1).map_or_else(|| "?".to_owned(), |bytes| format!("{:.0} kB", bytes / 1e3))
        );
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
