//! The check `balance`: every stream reached every gateway, with at least half of its fair share. It is judged in windows that
//! are shorter than the life of a connection, over gateways that were ready for long enough before.

use super::gateways::Gateways;
use super::{Context, Finding, Ruling, Story, Verdict, rounded, sinks_incomplete};
use crate::judge::story::within;
use crate::record::Record;
use crate::scenario::{FaultName, Measure, Scenario, Step};
use crate::world::{Kind, Pod};
use serde_json::{Value, json};
use spanproof_ledger::{Arrivals, SinkLedger, Stream};
use std::collections::{BTreeMap, BTreeSet};

/// The length of a window, in seconds: a third of the maximum age of the gateways' connections.
const WINDOW: f64 = 20.0;
/// The distance between the beginnings of two windows.
const STRIDE: f64 = 5.0;
/// The part of its fair share that a gateway must have.
const ENOUGH: f64 = 0.5;
/// The probability below which a share is not chance. It is computed as if each request went to a gateway drawn at random; in
/// fact they take turns, which varies less. A stream with so few requests in a window that even none at all for a gateway
/// might be chance is not judged.
const CHANCE: f64 = 1e-6;

pub(super) fn check(context: &Context<'_>) -> Option<Finding> {
    let Context { record, story, restarts, gateways, .. } = context;
    // Without an HPA a spike adds no gateway.
    let has_hpa = record.scenario.tier.has(Measure::Hpa);
    let spikes: Vec<f64> =
        story.faults_called(&FaultName::Spike).filter(|_| has_hpa).map(|fault| fault.start).collect();
    let (start, end) = story.load?;
    let windows = windows(record, story, start, end);
    // Without a spike the scenario does not ask for it: only a result is reported, and no doubt.
    let asked_for = !spikes.is_empty();
    if let Some(incomplete) = story.gap(&[Kind::Pod], start, end).or_else(|| sinks_incomplete(record)) {
        return asked_for.then(|| Finding::inconclusive(incomplete));
    }
    let spans = Spans::of(record, gateways);
    let shares: Vec<GatewayShare> = windows.iter().flat_map(|window| spans.shares(record, window)).collect();
    if shares.is_empty() && !asked_for {
        return None;
    }
    if let Some(doubt) = restarts.doubt() {
        return asked_for.then(|| Finding::inconclusive(doubt));
    }
    // After a spike the gateways that the HPA added are judged: by each stream at least one.
    let added = |spike: &f64, stream: &Stream| {
        shares.iter().any(|share| share.stream == *stream && share.ready_since > *spike)
    };
    let mut streams = record.environment.streams.keys();
    if let Some(stream) = streams.find(|stream| !spikes.iter().all(|spike| added(spike, stream))) {
        let reason =
            "no gateway that was added was ready, under enough load, for long enough to have its share";
        return Some(Finding::inconclusive(format!("{reason} of stream {stream}")));
    }
    let Some(worst) = shares.iter().min_by(|a, b| a.of_fair.total_cmp(&b.of_fair)) else {
        return Some(Finding::inconclusive("no stream had enough requests to be judged"));
    };
    let evidence = json!({
        "windows": windows.len(),
        "window_s": WINDOW,
        "worst": worst.evidence(),
        "below_half": shares.iter().filter(|share| share.of_fair < ENOUGH).take(100).map(GatewayShare::evidence).collect::<Vec<_>>(),
        "of_no_gateway": spans.strangers,
    });
    Some(Finding::new(decide(&shares, worst, &spans.strangers), evidence))
}

/// The ruling that the shares come to.
fn decide(shares: &[GatewayShare], worst: &GatewayShare, strangers: &BTreeSet<String>) -> Ruling {
    let too_low = shares.iter().filter(|share| share.is_too_low());
    if let Some(share) = too_low.min_by(|a, b| a.of_fair.total_cmp(&b.of_fair)) {
        let GatewayShare { gateway, stream, from, spans, of_fair, ready_since, .. } = share;
        let (to, percent) = (from + WINDOW, of_fair * 100.0);
        let reason = format!(
            "{gateway}, ready since {ready_since:.0}s, got {spans} spans of stream {stream} from {from:.0}s to {to:.0}s: {percent:.0} % of its fair share"
        );
        return (Verdict::Fail, reason);
    }
    if let Some(share) = shares.iter().find(|share| share.may_be_too_low()) {
        let GatewayShare { stream, from, unknown, .. } = share;
        let strangers: Vec<&str> = strangers.iter().take(3).map(String::as_str).collect();
        let reason = format!(
            "which gateway sent {unknown} spans of stream {stream} from {from:.0}s to {:.0}s is not known: at the sink they came \
             from {}, which is no gateway's name or address",
            from + WINDOW,
            strangers.join(", ")
        );
        return (Verdict::Inconclusive, reason);
    }
    let percent = worst.of_fair * 100.0;
    (
        Verdict::Pass,
        format!("every stream reached every gateway, with {percent:.0} % of its fair share at least"),
    )
}

/// Returns warnings about spikes of a scenario that will leave this check inconclusive, as far as that is known before a run.
/// `workers` is the number of workers, if known, and `gateways` the largest number of gateways.
pub fn foreseen(scenario: &Scenario, workers: Option<u32>, gateways: Option<u32>) -> Vec<String> {
    let spikes = scenario.all_steps().filter_map(|step| {
        let Step::Spike(spike) = step else { return None };
        scenario.tier.has(Measure::Hpa).then_some(spike)
    });
    let within = scenario.expect.share_within;
    let needed = within.duration().as_secs_f64() + WINDOW + STRIDE;
    let mut found = Vec::new();
    for spike in spikes {
        let hold = spike.hold.duration().as_secs_f64();
        if hold < needed {
            found.push(format!(
                "`balance` will be inconclusive: the spike to {} holds for {} after the HPA has scaled out, and a new gateway's \
                 share is judged from {within} on, in windows of {WINDOW}s: `hold: {needed}s` is enough",
                spike.rate, spike.hold
            ));
        }
        let (Some(workers), Some(gateways)) = (workers, gateways) else { continue };
        let request = f64::from(scenario.load.spans_per_request.max(1));
        let requests = spike.rate.in_a_second() * WINDOW / f64::from(workers.max(1)) / request;
        let part = 1.0 / f64::from(gateways.max(2));
        if at_most(whole(requests), part, 0) >= CHANCE {
            found.push(format!(
                "`balance` will be inconclusive: of each stream a spike to {} sends {requests:.0} requests in the {WINDOW}s of \
                 a window, too few to tell {gateways} gateways' shares from chance: a higher rate, or fewer \
                 `load.spans_per_request`",
                spike.rate
            ));
        }
    }
    found
}

/// A window, and the gateways that are judged in it.
struct Window {
    from: f64,
    /// The names, and the moments since which they were ready.
    gateways: Vec<(String, f64)>,
    /// The number of gateways that were ready at some moment of it: so many share the spans.
    sharing: usize,
}

fn windows(record: &Record, story: &Story, start: f64, end: f64) -> Vec<Window> {
    let grace = record.scenario.expect.share_within.duration().as_secs_f64();
    // In the first seconds of a run the agents connect.
    let mut from = story.steady_at().map_or(start, |t| t - WINDOW).max(start + STRIDE);
    let mut windows = Vec::new();
    while from + WINDOW <= end {
        let to = from + WINDOW;
        // Other faults disturb the connections.
        let unsettled = story.faults.iter().filter(|fault| fault.name != FaultName::Spike);
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
    // The agents know those that were there before the load from the beginning.
    let gateways: Vec<_> = known.filter(|(_, since)| *since <= start || since + grace <= from).collect();
    (gateways.len() > 1).then_some(Window { from, gateways, sharing: sharing.len() })
}

/// Returns the moment since which a gateway has been ready without a break, as of another.
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
struct GatewayShare {
    gateway: String,
    ready_since: f64,
    stream: Stream,
    from: f64,
    spans: u64,
    of_fair: f64,
    /// The spans of the stream whose gateway is not known, and this gateway's share if all of them were its own.
    unknown: u64,
    at_most: f64,
    /// The probability of so little, or less, by chance.
    chance: f64,
}

impl GatewayShare {
    /// Returns `true` if the share is too low, whoever sent the spans of unknown gateways.
    fn is_too_low(&self) -> bool {
        self.at_most < ENOUGH && self.chance < CHANCE
    }

    fn may_be_too_low(&self) -> bool {
        self.unknown > 0 && self.of_fair < ENOUGH
    }

    fn evidence(&self) -> Value {
        json!({
            "gateway": self.gateway,
            "ready_since": self.ready_since,
            "stream": self.stream,
            "from": rounded(self.from),
            "spans": self.spans,
            "of_fair_share": rounded(self.of_fair),
            "spans_of_no_gateway": self.unknown,
            "chance": self.chance,
        })
    }
}

/// The arrivals by second of Unix time and stream, of each gateway; `None` is an unknown one.
struct Spans<'a> {
    all: BTreeMap<(u64, Stream), BTreeMap<Option<&'a str>, Arrivals>>,
    /// The names and addresses that are no gateway's.
    strangers: BTreeSet<String>,
}

impl<'a> Spans<'a> {
    fn of(record: &Record, gateways: &Gateways<'a>) -> Self {
        let mut all: BTreeMap<(u64, Stream), BTreeMap<Option<&'a str>, Arrivals>> = BTreeMap::new();
        let mut strangers = BTreeSet::new();
        for (second, stream, said, arrivals) in record.sinks.iter().flat_map(SinkLedger::arrivals) {
            let middle = second.saturating_mul(1_000).saturating_add(500);
            let who = gateways.who(said, record.moment(&record.environment.sink_node, middle));
            if who.is_none() {
                strangers.insert(said.to_owned());
            }
            let sum = all.entry((second, stream)).or_default().entry(who).or_default();
            sum.spans = sum.spans.saturating_add(arrivals.spans);
            sum.requests = sum.requests.saturating_add(arrivals.requests);
        }
        Self { all, strangers }
    }

    fn shares(&self, record: &Record, window: &Window) -> Vec<GatewayShare> {
        let second = |t| record.unix_ms(&record.environment.sink_node, t) / 1_000;
        let seconds = second(window.from)..second(window.from + WINDOW);
        let mut shares = Vec::new();
        for stream in record.environment.streams.keys().copied() {
            let mut by_gateway: BTreeMap<Option<&str>, u64> = BTreeMap::new();
            let (mut total, mut requests) = (0u64, 0u64);
            for (gateway, arrivals) in
                seconds.clone().filter_map(|second| self.all.get(&(second, stream))).flatten()
            {
                let spans = by_gateway.entry(*gateway).or_default();
                *spans = spans.saturating_add(arrivals.spans);
                total = total.saturating_add(arrivals.spans);
                requests = requests.saturating_add(arrivals.requests);
            }
            let part = 1.0 / window.sharing as f64;
            if total == 0 || at_most(requests, part, 0) >= CHANCE {
                continue;
            }
            let fair = total as f64 * part;
            let unknown = by_gateway.get(&None).copied().unwrap_or_default();
            shares.extend(window.gateways.iter().map(|(gateway, ready_since)| {
                let spans = by_gateway.get(&Some(gateway.as_str())).copied().unwrap_or_default();
                let most = spans.saturating_add(unknown) as f64;
                let (gateway, ready_since, from) = (gateway.clone(), *ready_since, window.from);
                let (of_fair, at_most_of_fair) = (spans as f64 / fair, most / fair);
                let chance = if at_most_of_fair < ENOUGH {
                    at_most(requests, part, whole(most / total as f64 * requests as f64))
                } else {
                    1.0
                };
                GatewayShare {
                    gateway,
                    ready_since,
                    stream,
                    from,
                    spans,
                    of_fair,
                    unknown,
                    at_most: at_most_of_fair,
                    chance,
                }
            }));
        }
        shares
    }
}

/// Rounds up.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a part of a count")]
fn whole(requests: f64) -> u64 {
    requests.max(0.0).ceil() as u64
}

/// Returns the probability that of so many requests, each with the probability `part`, at most `few` go to one gateway.
fn at_most(requests: u64, part: f64, few: u64) -> f64 {
    let (all, odds) = (requests as f64, part / (1.0 - part));
    // The probabilities of exactly 0, 1, 2, …, each from the one before it, as logarithms, for they are tiny.
    let mut exactly = all * (1.0 - part).ln();
    let mut sum = exactly.exp();
    for number in 0..few.min(requests) {
        exactly += ((all - number as f64) / (number as f64 + 1.0) * odds).ln();
        sum += exactly.exp();
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::{at_most, foreseen};
    use crate::scenario::Scenario;
    use std::path::Path;

    #[test]
    fn a_spike_that_is_too_short_or_too_low_is_said_before() {
        let said = |spike: &str, workers| {
            let text = format!("name: x\nsteps: [{{spike: {spike}}}]\nload: {{rate: 100/s}}\n");
            let scenario = Scenario::parse(Path::new("x.yaml"), &text).unwrap();
            foreseen(&scenario, workers, Some(4)).join("; ")
        };
        assert_eq!(said("{rate: 13000/s, hold: 125s}", Some(3)), "");
        assert!(said("{rate: 13000/s}", None).contains("`hold: 125s` is enough"));
        assert!(said("{rate: 200/s, hold: 125s}", Some(3)).contains("27 requests"));
        assert_eq!(said("{rate: 200/s, hold: 125s}", None), "", "on how many workers is not known");
    }

    #[test]
    fn little_is_no_chance_where_there_was_much() {
        let near = |one: f64, other: f64| (one - other).abs() < 1e-9;
        assert!(
            near(at_most(2, 0.5, 0), 0.25) && near(at_most(2, 0.5, 1), 0.75) && near(at_most(2, 0.5, 2), 1.0)
        );
        assert!(near(at_most(10, 0.5, 5), 0.623_046_875));
        assert!(at_most(19, 0.5, 0) > 1e-6 && at_most(20, 0.5, 0) < 1e-6, "20 requests tell of two gateways");
        assert!(at_most(10_000, 0.25, 1_250) < 1e-100 && at_most(40, 0.25, 5) > 1e-2);
        assert!((at_most(0, 0.5, 0) - 1.0).abs() < 1e-12);
    }
}
