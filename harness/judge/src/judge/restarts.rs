//! Restarted probes: they are named in the verdict, with what a sink's ledger may have lost.
//!
//! A process that is killed loses nothing that it wrote: the kernel has it. A machine that loses its power loses what was not
//! synced. The sink's ledger says when it was synced last, and under which boot of the kernel each process ran.

use super::{Story, rounded};
use crate::record::Record;
use serde_json::{Value, json};

/// The largest delay of a sink's ledger after the beginning of the load, in seconds, by any clock.
const SLACK: f64 = 10.0;

/// A stretch of the run's clock, in seconds.
type Stretch = (f64, f64);

/// The restarts of the probes.
pub(super) struct Restarts {
    /// (probe, moment), in order.
    all: Vec<(String, f64)>,
    /// The moments at which sinks were restarted.
    pub(super) sinks: Vec<f64>,
    /// The times whose arrivals may be missing in a sink's ledger.
    pub(super) lost: Vec<Stretch>,
}

impl Restarts {
    pub(super) fn of(record: &Record, story: &Story) -> Self {
        let mut all = Vec::new();
        let mut lost = Vec::new();
        let moment = |unix_ms| record.moment(&record.environment.sink_node, unix_ms);
        let begun = story.load.map(|(start, _)| start);
        for sink in &record.sinks {
            for restart in sink.restarts() {
                all.push(("the sink".to_owned(), moment(restart.unix_ms)));
                lost.extend(restart.lost_since.map(|since| (moment(since), moment(restart.unix_ms))));
            }
            // A ledger that begins in the midst of the load replaced one that is gone.
            let late =
                sink.opened_ms().map(moment).zip(begun).filter(|(opened, begun)| *opened > begun + SLACK);
            lost.extend(late.map(|(opened, begun)| (begun, opened)));
        }
        let sinks = all.iter().map(|(_, t)| *t).collect();
        for emitter in &record.emitters {
            let node = record.node_of(emitter.stream());
            let restarts = emitter.restarts().map(|unix_ms| record.moment(node, unix_ms));
            all.extend(restarts.map(|t| (format!("the emitter on {node}"), t)));
        }
        all.sort_by(|one, other| one.1.total_cmp(&other.1));
        Self { all, sinks, lost }
    }

    /// Describes the restarts as the end of a sentence; empty if there were none.
    pub(super) fn describe(&self) -> String {
        let said: Vec<_> =
            self.all.iter().take(5).map(|(who, t)| format!("{who} was restarted at {t:.1}s")).collect();
        let more = self.all.len().saturating_sub(said.len());
        match (said.is_empty(), more) {
            (true, _) => String::new(),
            (false, 0) => format!("; {}", said.join(", ")),
            (false, more) => format!("; {}, and {more} more restarts", said.join(", ")),
        }
    }

    pub(super) fn evidence(&self) -> Value {
        let lost = self.lost.iter().map(|(from, to)| json!([rounded(*from), rounded(*to)]));
        json!({
            "restarts": self.all.iter().map(|(who, t)| json!([who, rounded(*t)])).collect::<Vec<_>>(),
            "may_be_missing": lost.collect::<Vec<_>>(),
        })
    }

    /// Returns `true` if there is nothing to say.
    pub(super) const fn none(&self) -> bool {
        self.all.is_empty() && self.lost.is_empty()
    }

    /// Returns `true` if a sink was away, or restarted, in a stretch.
    pub(super) fn reach_into(&self, (from, to): Stretch) -> bool {
        self.sinks.iter().any(|t| (from..=to + 1.0).contains(t))
            || self.lost.iter().any(|(start, end)| *start < to && *end > from)
    }

    /// Returns why what is missing may have arrived all the same, if so.
    pub(super) fn doubt(&self) -> Option<String> {
        let (from, to) = self.lost.first()?;
        Some(format!(
            "what a sink took from {from:.1}s to {to:.1}s may be missing in its ledger: its machine was rebooted, or its ledger lost"
        ))
    }
}
