//! The check `load`: there was as much load as the scenario asks for, of every stream. Without it no other check says much.

use super::{Context, Finding, Story, Verdict, emitters_incomplete, grouped};
use crate::record::{Event, Record};
use crate::scenario::Part;
use crate::world::Object;
use serde_json::{Map, Value, json};
use spanproof_ledger::{Account, Counts, EmitSecond, EmitterLedger, Stream};

pub(super) fn check(context: &Context<'_>) -> Option<Finding> {
    let Context { record, story, account, .. } = context;
    let counts = account.counts;
    let floor = record.scenario.load.floor.fraction();
    let Some((start, end)) = story.load else {
        return Some(Finding::inconclusive("there was no load"));
    };
    if let Some(incomplete) = emitters_incomplete(record) {
        return Some(Finding::inconclusive(incomplete));
    }
    let rates: Vec<Rates> =
        windows(story, start, end).into_iter().map(|window| rates(record, story, window)).collect();
    let streams: Vec<StreamStory> = record.emitters.iter().map(|it| stream(record, account, it)).collect();
    let evidence = json!({
        "floor": floor,
        "asked_per_s": rates.iter().map(|it| (it.name.clone(), it.asked.round().into())).collect::<Map<_, _>>(),
        "achieved_per_s": rates.iter().map(|it| (it.name.clone(), it.achieved().map(f64::round).into())).collect::<Map<_, _>>(),
        "never_acknowledged": counts.rejected.saturating_add(counts.unknown),
        "streams": streams.iter().map(StreamStory::evidence).collect::<Vec<_>>(),
        "nodes_without": record.environment.nodes_without,
    });
    let broken = missing(record)
        .or_else(|| no_rate(record, story, &rates))
        .or_else(|| rates.iter().find_map(Rates::unseen))
        .or_else(|| rates.iter().find_map(|it| it.too_low(floor)))
        .or_else(|| streams.iter().find_map(|it| it.took_no_part(floor)))
        .or_else(|| rates.iter().find_map(|it| it.stream_too_low(record, floor)));
    let ruling = match broken {
        Some(reason) => (Verdict::Inconclusive, reason),
        None => (Verdict::Pass, passed(record, &rates[0], counts.rejected, counts.unknown)),
    };
    Some(Finding::new(ruling, evidence))
}

/// Returns the windows in which the load is judged, by name: all of it, before the first fault, during each, and between and
/// after them. An average must not hide a time without load.
fn windows(story: &Story, start: f64, end: f64) -> Vec<(String, f64, f64)> {
    let first = story.faults.first().map_or(end, |fault| fault.start);
    let mut windows =
        vec![("over all".to_owned(), start, end), ("before the first fault".to_owned(), start, first)];
    let mut quiet_since = start;
    for fault in &story.faults {
        if quiet_since > start && fault.start - quiet_since >= SHORTEST {
            windows.push((format!("before {} of {}", fault.name, fault.target), quiet_since, fault.start));
        }
        let (from, to) = widened(fault.start, fault.over().min(end), start, end);
        windows.push((format!("during {} of {}", fault.name, fault.target), from, to));
        quiet_since = quiet_since.max(fault.over());
    }
    if quiet_since > start && end - quiet_since >= SHORTEST {
        windows.push(("after the last fault".to_owned(), quiet_since, end));
    }
    windows
}

/// Returns the reason of a pass.
fn passed(record: &Record, whole: &Rates, rejected: u64, unknown: u64) -> String {
    let mut said =
        vec![format!("{:.0}/s of {:.0}/s asked for", whole.achieved().unwrap_or_default(), whole.asked)];
    let never = rejected.saturating_add(unknown);
    if never > 0 {
        let (never, rejected) = (grouped(never), grouped(rejected));
        said.push(format!("{never} spans were never acknowledged, {rejected} of them refused for good"));
    }
    let without = record.environment.nodes_without.iter();
    said.extend(without.map(|(node, why)| format!("{node} has no emitter: {why}")));
    said.join("; ")
}

/// Returns a problem if an emitter is missing on a worker.
fn missing(record: &Record) -> Option<String> {
    let environment = &record.environment;
    let begun = record.timeline.iter().find_map(|entry| {
        let Event::LoadStarted { emitters, .. } = entry.event else { return None };
        Some(emitters)
    });
    if begun.is_some_and(|begun| begun != environment.streams.len()) {
        let (begun, streams) = (begun.unwrap_or_default(), environment.streams.len());
        return Some(format!("{begun} emitters were started, and {streams} streams are on record"));
    }
    let workers = environment.nodes.iter().filter_map(|node| node.strip_suffix(" (worker)"));
    let mut without = workers.filter(|worker| {
        let has = environment.streams.values().any(|node| node == worker);
        !has && !environment.nodes_without.contains_key(*worker)
    });
    without.next().map(|worker| format!("there was no emitter on {worker}"))
}

/// The counts of a stream as a whole.
struct StreamStory {
    stream: Stream,
    node: String,
    attempted: u64,
    acknowledged: u64,
    rejected: u64,
    unknown: u64,
    /// `true` if an agent was ever seen ready on its node; without one nothing can be taken.
    agent: bool,
}

fn stream(record: &Record, account: &Account, emitter: &EmitterLedger) -> StreamStory {
    let stream = emitter.stream();
    let counts = account.streams.get(&stream).map(|account| account.counts).unwrap_or_default();
    let node = record.node_of(stream).to_owned();
    let agent = record.timeline.iter().any(|entry| {
        let Event::Seen { object: Object::Pod(pod), .. } = &entry.event else { return false };
        pod.app == "agent" && pod.ready && pod.node == node
    });
    let Counts { attempted, acknowledged, rejected, unknown, .. } = counts;
    StreamStory { stream, node, attempted, acknowledged, rejected, unknown, agent }
}

impl StreamStory {
    /// Returns why the stream says too little about its agent, if so: most of what it attempted was not taken.
    fn took_no_part(&self, floor: f64) -> Option<String> {
        let Self { stream, node, attempted, rejected, unknown, .. } = self;
        let agent = if self.agent { "" } else { ": no agent was ready on it" };
        if self.acknowledged == 0 {
            return Some(format!("no span of stream {stream} ({node}) was acknowledged{agent}"));
        }
        let never = rejected.saturating_add(*unknown);
        (never as f64 > *attempted as f64 * (1.0 - floor)).then(|| {
            let (never, attempted) = (grouped(never), grouped(*attempted));
            let good = grouped(*rejected);
            format!(
                "{never} of {attempted} spans of stream {stream} ({node}) were never acknowledged, {good} of them \
                 refused for good{agent}"
            )
        })
    }

    fn evidence(&self) -> Value {
        json!({
            "stream": self.stream,
            "node": self.node,
            "attempted": self.attempted,
            "acknowledged": self.acknowledged,
            "rejected": self.rejected,
            "unknown": self.unknown,
            "agent_was_ready": self.agent,
        })
    }
}

/// Returns why it is not known which rate was asked for, if so: any load would be enough for a rate of 0. A profile may begin
/// at 0, or come down to it, but not be 0 all the time.
fn no_rate(record: &Record, story: &Story, rates: &[Rates]) -> Option<String> {
    let told = story.rates.iter().map(|(_, rate)| *rate);
    if record.scenario.load.constant().is_some() && story.rates.is_empty() {
        return Some("no rate that was asked for is on record".to_owned());
    }
    let some = |rate: f64| rate.is_finite() && rate > 0.0;
    if let Some(rate) = told.into_iter().find(|rate| !some(*rate)) {
        return Some(format!("a rate that was asked for is not above 0: {rate}/s"));
    }
    let none = |(place, it): &(usize, &Rates)| {
        !it.asked.is_finite() || it.asked < 0.0 || (*place == 0 && !some(it.asked))
    };
    let (_, Rates { name, asked, .. }) = rates.iter().enumerate().find(none)?;
    Some(format!("the rate that was asked for {name} is not above 0: {asked}/s"))
}

/// Widens the window of a short fault to what records by second can tell of.
fn widened(from: f64, to: f64, start: f64, end: f64) -> (f64, f64) {
    let more = (FAULT - (to - from)).max(0.0) / 2.0;
    let to = (to + more).max(start + FAULT).min(end);
    ((from - more).min(end - FAULT).max(start), to)
}

/// The shortest window in which the load during a fault is judged, in seconds.
const FAULT: f64 = 5.0;

/// The shortest time between two faults that is judged by itself, in seconds.
const SHORTEST: f64 = 8.0;

/// The rates that were asked for and achieved in a window, in spans per second of all emitters.
struct Rates {
    name: String,
    asked: f64,
    what: Counted,
    /// Each stream's; none of one that has no record of all of the window.
    streams: Vec<(Stream, Option<Rate>)>,
    /// The number of spans in a request: so many more or less in a window are chance.
    request: f64,
}

/// The rates of one stream, in spans per second, over so many seconds.
#[derive(Debug, Clone, Copy)]
struct Rate {
    sent: f64,
    acknowledged: f64,
    seconds: f64,
}

fn rates(record: &Record, story: &Story, (name, from, to): (String, f64, f64)) -> Rates {
    let whole = story.load == Some((from, to));
    // While agents are rolled, fewer spans are acknowledged; they are sent all the same, and over the whole run they must be
    // acknowledged in the end.
    let what = if !whole && agents_were_rolled(record, story, from, to) {
        Counted::Sent
    } else {
        Counted::SentAndAcknowledged
    };
    let of_stream = |emitter: &EmitterLedger| {
        let ms = |t| record.unix_ms(record.node_of(emitter.stream()), t) as f64;
        (emitter.stream(), rate(emitter, ms(from), ms(to), whole))
    };
    let streams = record.emitters.iter().map(of_stream).collect();
    let request = f64::from(record.scenario.load.spans_per_request);
    Rates { name, asked: asked(record, story, from, to), what, streams, request }
}

impl Rates {
    /// Returns the rate of all emitters together; none if one of them has no record of the whole window.
    fn achieved(&self) -> Option<f64> {
        let rates: Vec<Rate> = self.streams.iter().map(|(_, rate)| *rate).collect::<Option<_>>()?;
        let sent = rates.iter().map(|rate| rate.sent).sum::<f64>();
        let acknowledged = rates.iter().map(|rate| rate.acknowledged).sum::<f64>();
        Some(match self.what {
            Counted::Sent => sent,
            Counted::SentAndAcknowledged => sent.min(acknowledged),
        })
    }

    fn unseen(&self) -> Option<String> {
        let Self { name, .. } = self;
        self.achieved().is_none().then(|| {
            format!("no rate is on record for every emitter {name}: one ended early, or it was too short")
        })
    }

    fn too_low(&self, floor: f64) -> Option<String> {
        let Self { name, asked, .. } = self;
        let achieved = self.achieved().filter(|achieved| *achieved < asked * floor)?;
        Some(format!("only {achieved:.0}/s of {asked:.0}/s asked for {name}: under the floor"))
    }

    /// Returns the first stream that was under the floor by itself: all of them have the same share.
    fn stream_too_low(&self, record: &Record, floor: f64) -> Option<String> {
        let Self { name, .. } = self;
        let share = self.asked / self.streams.len().max(1) as f64;
        self.streams.iter().find_map(|(stream, rate)| {
            let rate = (*rate)?;
            let achieved = match self.what {
                Counted::Sent => rate.sent,
                Counted::SentAndAcknowledged => rate.sent.min(rate.acknowledged),
            };
            // A request more or less at either end of the window is chance.
            let chance = 2.0 * self.request / rate.seconds.max(f64::EPSILON);
            (achieved + chance < share * floor).then(|| {
                let node = record.node_of(*stream);
                format!(
                    "only {achieved:.0}/s of {share:.0}/s asked for {name} of stream {stream} ({node}): under the floor"
                )
            })
        })
    }
}

/// Returns the rate that the scenario asked for in a window, on average.
fn asked(record: &Record, story: &Story, from: f64, to: f64) -> f64 {
    let load = &record.scenario.load;
    if let (None, Some((start, _))) = (load.constant(), story.load) {
        return load.spans(from - start, to - start) / (to - from).max(f64::EPSILON);
    }
    let until = story.rates.iter().skip(1).map(|(t, _)| *t).chain([f64::INFINITY]);
    let spans = story
        .rates
        .iter()
        .zip(until)
        .map(|((since, rate), until)| rate * (until.min(to) - since.max(from)).max(0.0));
    spans.sum::<f64>() / (to - from).max(f64::EPSILON)
}

/// The largest distance of the records from an end of a window, in milliseconds: they are by second.
const SLACK_MS: f64 = 2_500.0;

/// The part of the load that counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted {
    Sent,
    /// Whichever is less.
    SentAndAcknowledged,
}

fn agents_were_rolled(record: &Record, story: &Story, from: f64, to: f64) -> bool {
    let mut agents = story.rollouts(record).filter(|(upgrade, _)| upgrade.what == Part::Agents);
    agents.any(|(_, fault)| fault.start < to && fault.over() > from)
}

/// Returns a stream's rates, from the first to the last second that begins in the window: one that is missing between them
/// counts as idle. Over the whole load, late acknowledgements after its end count as well.
fn rate(emitter: &EmitterLedger, from_ms: f64, to_ms: f64, whole: bool) -> Option<Rate> {
    let within = |second: &&EmitSecond| (from_ms - 1e3..to_ms).contains(&(second.unix_ms as f64));
    let seconds: Vec<&EmitSecond> = emitter.seconds().iter().filter(within).collect();
    let (first, last) = (seconds.first()?.unix_ms as f64, seconds.last()?.unix_ms as f64);
    if first > from_ms + SLACK_MS || last < to_ms - SLACK_MS || last <= first {
        return None;
    }
    let counted = &seconds[..seconds.len() - 1];
    let per_second = |spans: u64| spans as f64 / (last - first) * 1e3;
    let sent = counted.iter().map(|second| second.emitted.count()).fold(0, u64::saturating_add);
    let taken = |seconds: &mut dyn Iterator<Item = u64>| seconds.fold(0, u64::saturating_add);
    let acknowledged = if whole {
        let later = emitter.seconds().iter().filter(|second| second.unix_ms as f64 >= first);
        taken(&mut later.map(|second| second.acknowledged))
    } else {
        taken(&mut counted.iter().map(|second| second.acknowledged))
    };
    Some(Rate {
        sent: per_second(sent),
        acknowledged: per_second(acknowledged),
        seconds: (last - first) / 1e3,
    })
}

#[cfg(test)]
mod tests {
    use super::widened;

    #[test]
    fn a_fault_that_is_over_at_once_is_seen_with_what_is_around_it() {
        assert_eq!(widened(20.0, 21.0, 0.0, 60.0), (18.0, 23.0));
        assert_eq!(widened(20.0, 30.0, 0.0, 60.0), (20.0, 30.0));
        assert_eq!(widened(0.5, 1.0, 0.0, 60.0), (0.0, 5.0));
        assert_eq!(widened(59.0, 60.0, 0.0, 60.0), (55.0, 60.0));
        assert_eq!(widened(1.0, 2.0, 0.0, 3.0), (0.0, 3.0), "never more than there was");
    }
}
