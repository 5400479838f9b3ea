//! Does every stream reach every gateway, each with at least half of its fair share? Looked at in windows that
//! are shorter than a connection may live, over gateways that were ready for long enough before.

use super::restarts::Restarts;
use super::{Check, Story, Verdict, rounded, sinks_untold};
use crate::judge::story::within;
use crate::record::Record;
use crate::scenario::Measure;
use crate::world::{Kind, Pod};
use serde_json::{Value, json};
use spanproof_ledger::Stream;
use std::collections::{BTreeMap, BTreeSet};

/// The length of a window, in seconds: a third of the greatest age of the gateways' connections.
const WINDOW: f64 = 20.0;
/// The distance between the beginnings of two windows.
const STRIDE: f64 = 5.0;
/// Of its fair share, a gateway must have this much.
const ENOUGH: f64 = 0.5;
/// A stream with fewer spans for each gateway than this in a window says nothing: it comes in batches of up to
/// 1,000, and a handful of those is not yet a share.
const FEWEST_SPANS: u64 = 5_000;

pub(super) fn check(record: &Record, story: &Story) -> Option<Check> {
    // Without an HPA a spike adds no gateway.
    let has_hpa = record.scenario.tier.has(Measure::Hpa);
    let spikes: Vec<f64> =
        story.faults_called("spike").filter(|_| has_hpa).map(|fault| fault.start).collect();
    let inconclusive = |reason: String| Some(Check::new("balance", Verdict::Inconclusive, reason, json!({})));
    let (start, end) = story.load?;
    let windows = windows(record, story, start, end);
    if windows.is_empty() && spikes.is_empty() {
        return None;
    }
    if let Some(gap) = story.gap(&[Kind::Pod], start, end) {
        return inconclusive(gap);
    }
    if let Some(untold) = sinks_untold(record) {
        return inconclusive(untold);
    }
    if let Some(doubt) = Restarts::of(record, story).doubt() {
        return inconclusive(doubt);
    }
    let spans = Spans::of(record);
    let shares: Vec<Share> = windows.iter().flat_map(|window| spans.shares(record, window)).collect();
    // After a spike it is the gateways that the HPA added that this is about: each stream must tell of one.
    let added = |spike: &f64, stream: &Stream| {
        shares.iter().any(|share| share.stream == *stream && share.ready_since > *spike)
    };
    let streams = record.environment.streams.keys();
    if let Some(stream) = streams.into_iter().find(|stream| !spikes.iter().all(|spike| added(spike, stream)))
    {
        let reason =
            "no gateway that was added was ready, under enough load, for long enough to have its share";
        return inconclusive(format!("{reason} of stream {stream}"));
    }
    let Some(worst) = shares.iter().min_by(|a, b| a.of_fair.total_cmp(&b.of_fair)) else {
        return inconclusive("no stream was strong enough to be judged by".to_owned());
    };
    let evidence = json!({
        "windows": windows.len(),
        "window_s": WINDOW,
        "worst": worst.evidence(),
        "below_half": shares.iter().filter(|share| share.of_fair < ENOUGH).take(100).map(Share::evidence).collect::<Vec<_>>(),
    });
    let Share { gateway, stream, from, spans, of_fair, ready_since, .. } = worst;
    let percent = of_fair * 100.0;
    let (verdict, reason) = if *of_fair < ENOUGH {
        let to = from + WINDOW;
        (
            Verdict::Fail,
            format!(
                "{gateway}, ready since {ready_since:.0}s, got {spans} spans of stream {stream} from {from:.0}s to {to:.0}s: {percent:.0} % of its fair share"
            ),
        )
    } else {
        (
            Verdict::Pass,
            format!("every stream reached every gateway, with {percent:.0} % of its fair share at the least"),
        )
    };
    Some(Check::new("balance", verdict, reason, evidence))
}

/// A window, and the gateways that are judged in it.
struct Window {
    from: f64,
    /// Name, and since when it was ready.
    gateways: Vec<(String, f64)>,
    /// How many gateways were ready at some moment of it: so many share the spans.
    sharing: usize,
}

fn windows(record: &Record, story: &Story, start: f64, end: f64) -> Vec<Window> {
    let grace = record.scenario.expect.share_within.duration().as_secs_f64();
    // The first seconds of a run are spent connecting.
    let mut from = story.steady_at().map_or(start, |t| t - WINDOW).max(start + STRIDE);
    let mut windows = Vec::new();
    while from + WINDOW <= end {
        let to = from + WINDOW;
        // Whatever else is done to the tier unsettles the connections.
        let unsettled = story.faults.iter().filter(|fault| fault.name != "spike");
        let mut unsettled = unsettled.filter(|fault| fault.start < to && fault.over() + grace > from);
        if unsettled.next().is_none() && !agents_changed(story, from, to) {
            windows.extend(window(story, from, to, start, grace));
        }
        from += STRIDE;
    }
    windows
}

fn window(story: &Story, from: f64, to: f64, start: f64, grace: f64) -> Option<Window> {
    let gateways = story.pods.get("gateway")?;
    let mut sharing = BTreeSet::new();
    let mut throughout: Option<BTreeSet<&String>> = None;
    for (_, pods) in within(gateways, from, to)? {
        let ready: BTreeSet<&String> =
            pods.iter().filter(|(_, pod)| pod.ready).map(|(name, _)| name).collect();
        throughout = Some(throughout.map_or_else(|| ready.clone(), |before| &before & &ready));
        sharing.extend(ready);
    }
    let known =
        throughout?.into_iter().filter_map(|name| Some((name.clone(), ready_since(gateways, name, from)?)));
    // Those that were there before the load are known to the agents from the beginning.
    let gateways: Vec<_> = known.filter(|(_, since)| *since <= start || since + grace <= from).collect();
    (gateways.len() > 1).then_some(Window { from, gateways, sharing: sharing.len() })
}

/// Since when a gateway has been ready without a break, as of a moment.
fn ready_since(gateways: &super::story::Series<Vec<(String, Pod)>>, name: &str, t: f64) -> Option<f64> {
    let mut since = None;
    for (at, pods) in gateways.iter().take_while(|(at, _)| *at <= t) {
        let ready = pods.iter().any(|(other, pod)| other == name && pod.ready);
        since = ready.then(|| since.unwrap_or(*at));
    }
    since
}

fn agents_changed(story: &Story, from: f64, to: f64) -> bool {
    let Some(agents) = story.pods_within("agent", from, to) else { return true };
    let which = |pods: &[(String, Pod)]| {
        pods.iter().map(|(name, pod)| (name.clone(), pod.restarts, pod.ready)).collect::<Vec<_>>()
    };
    let states: Vec<_> = agents.map(|(_, pods)| which(pods)).collect();
    states.windows(2).any(|pair| pair[0] != pair[1])
}

/// One gateway's share of one stream in a window.
struct Share {
    gateway: String,
    ready_since: f64,
    stream: Stream,
    from: f64,
    spans: u64,
    of_fair: f64,
}

impl Share {
    fn evidence(&self) -> Value {
        json!({
            "gateway": self.gateway,
            "ready_since": self.ready_since,
            "stream": self.stream,
            "from": rounded(self.from),
            "spans": self.spans,
            "of_fair_share": rounded(self.of_fair),
        })
    }
}

/// Spans by second of Unix time, stream, and gateway.
struct Spans(BTreeMap<(u64, Stream), BTreeMap<String, u64>>);

impl Spans {
    fn of(record: &Record) -> Self {
        let mut all: BTreeMap<(u64, Stream), BTreeMap<String, u64>> = BTreeMap::new();
        for (second, stream, gateway, spans) in
            record.sinks.iter().flat_map(spanproof_ledger::SinkLedger::by_second)
        {
            let counted = all.entry((second, stream)).or_default().entry(gateway.to_owned()).or_default();
            *counted = counted.saturating_add(spans);
        }
        Self(all)
    }

    fn shares(&self, record: &Record, window: &Window) -> Vec<Share> {
        let second = |t| record.unix_ms(&record.environment.sink_node, t) / 1_000;
        let seconds = second(window.from)..second(window.from + WINDOW);
        let streams: BTreeSet<Stream> = record.environment.streams.keys().copied().collect();
        let mut shares = Vec::new();
        for stream in streams {
            let mut by_gateway: BTreeMap<&str, u64> = BTreeMap::new();
            for (gateway, spans) in
                seconds.clone().filter_map(|second| self.0.get(&(second, stream))).flatten()
            {
                let counted = by_gateway.entry(gateway).or_default();
                *counted = counted.saturating_add(*spans);
            }
            let total = by_gateway.values().copied().fold(0, u64::saturating_add);
            if total < FEWEST_SPANS * window.sharing as u64 {
                continue;
            }
            let fair = total as f64 / window.sharing as f64;
            shares.extend(window.gateways.iter().map(|(gateway, ready_since)| {
                let spans = by_gateway.get(gateway.as_str()).copied().unwrap_or_default();
                let (gateway, ready_since, from) = (gateway.clone(), *ready_since, window.from);
                Share { gateway, ready_since, stream, from, spans, of_fair: spans as f64 / fair }
            }));
        }
        shares
    }
}
