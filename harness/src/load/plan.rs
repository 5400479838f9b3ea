//! The probes' plans, from a scenario. Of its files, only certificates are read.

use crate::given::{self, Unreadable};
use crate::scenario::profile::{Stretch, afterwards};
use crate::scenario::{Answers, Backend, LONGEST_LOAD, Load, Protocol, Rate, Scenario, Share, Span};
use spanproof_probe::OTLP_PORT;
use spanproof_probe::control::{
    self, Behaviour, Behaviours, EmitPlan, Empty, Forget, Lease, Partial, Peak, Plan, ProbeError, Ramp,
    Refuse, Scrape, Segment, Sine, SinkPlan, Slow, Steps, behaviour::Kind, plan::Role, segment::Shape,
};
use std::path::PathBuf;
use std::time::Duration;

/// The time for which emitters carry on without hearing from the harness.
const LEASE: Duration = Duration::from_secs(60);
/// The agents' port of OTLP/HTTP.
const OTLP_HTTP_PORT: u16 = 4318;
/// The Collectors' port of metrics.
const METRICS_PORT: u32 = 8888;
/// The Collectors' own metrics that are scraped; each also by its name with `_total`.
const METRICS: [&str; 17] = [
    "otelcol_exporter_queue_size",
    "otelcol_exporter_queue_capacity",
    "otelcol_exporter_in_flight_requests",
    "otelcol_exporter_sent_spans",
    "otelcol_exporter_send_failed_spans",
    "otelcol_exporter_enqueue_failed_spans",
    "otelcol_receiver_accepted_spans",
    "otelcol_receiver_refused_spans",
    // Renamed in v0.155; older ones say it without `memory_limiter`.
    "otelcol_processor_memory_limiter_refused_spans",
    "otelcol_processor_refused_spans",
    "otelcol_processor_tail_sampling_global_count_traces_sampled{sampled=\"true\"}",
    "otelcol_processor_tail_sampling_global_count_traces_sampled{sampled=\"false\"}",
    "otelcol_processor_tail_sampling_new_trace_id_received",
    "otelcol_processor_tail_sampling_sampling_trace_dropped_too_early",
    "otelcol_process_uptime",
    "otelcol_process_memory_rss",
    "otelcol_process_cpu_seconds",
];

/// A run's tag, and the seed of whatever is random in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) tag: u64,
    pub(super) seed: u64,
}

pub(super) fn lease() -> Lease {
    Lease { milliseconds: millis(LEASE) }
}

fn plan(load: &Load, run: Run, role: Role) -> Plan {
    Plan {
        run_tag: run.tag,
        spans_per_trace: load.spans_per_trace,
        lease: Some(lease()),
        role: Some(role),
        streams_per_trace: load.streams_per_trace,
        checksum: load.checksum,
    }
}

/// An error in a load that cannot be offered. The user's to correct.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A file cannot be read.
    #[error("load.tls.{field}: {}: {source}", path.display())]
    Read {
        /// The field of `load.tls` that names it.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Unreadable,
    },
    /// A file has nothing in it: without it there would be no TLS, or another one than was asked for.
    #[error("load.tls.{field}: {}: there is no {} in it, in PEM", path.display(), if *field == "key" { "key" } else { "certificate" })]
    Empty {
        /// The field of `load.tls` that names it.
        field: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// An emitter would not do it.
    #[error("load: {0}")]
    Refused(#[from] ProbeError),
}

/// Checks that the emitters would accept a scenario's load.
pub fn check(scenario: &Scenario) -> Result<(), PlanError> {
    let tls = tls(&scenario.load)?;
    Ok(spanproof_probe::emit::check(&emit(scenario, Run { tag: 0, seed: 0 }, 1, 1, tls))?)
}

/// The certificates that a load names.
pub(super) fn tls(load: &Load) -> Result<Option<control::Tls>, PlanError> {
    let Some(tls) = &load.tls else { return Ok(None) };
    let read = |field: &'static str, path: &PathBuf| {
        let bytes = given::bytes(path);
        let bytes = bytes.map_err(|source| PlanError::Read { field, path: path.clone(), source })?;
        // What is in them is looked at by the emitter; of one that is empty it takes that there is none.
        let some = bytes.iter().any(|byte| !byte.is_ascii_whitespace());
        if some { Ok(bytes) } else { Err(PlanError::Empty { field, path: path.clone() }) }
    };
    let optional = |field: &'static str, path: &Option<PathBuf>| {
        path.as_ref().map(|path| read(field, path)).transpose().map(Option::unwrap_or_default)
    };
    Ok(Some(control::Tls {
        ca: read("ca", &tls.ca)?,
        certificate: optional("certificate", &tls.certificate)?,
        key: optional("key", &tls.key)?,
        server_name: tls.server_name.clone().unwrap_or_default(),
    }))
}

/// Returns the plan of one emitter of several.
pub(super) fn emit(
    scenario: &Scenario,
    run: Run,
    stream: u32,
    emitters: usize,
    tls: Option<control::Tls>,
) -> Plan {
    let load = &scenario.load;
    let part = scenario.sabotage.emitters_at.map_or(1.0, Share::fraction) / emitters as f64;
    let (protocol, port) = match load.protocol {
        Protocol::Grpc => (control::Protocol::Grpc, OTLP_PORT),
        Protocol::Http => (control::Protocol::Http, OTLP_HTTP_PORT),
    };
    let emit = EmitPlan {
        stream,
        profile: segments(load, part),
        spans_per_request: load.spans_per_request,
        payload_bytes: load.payload_bytes,
        duration_ms: millis(LONGEST_LOAD),
        endpoint: format!("{}://agent:{port}", if tls.is_some() { "https" } else { "http" }),
        protocol: protocol.into(),
        gzip: load.gzip,
        connections: load.connections,
        in_flight: load.in_flight,
        deadline_ms: u32::try_from(millis(load.deadline.duration())).unwrap_or(u32::MAX),
        tls,
        attributes: load.attributes,
        jitter: load.jitter.map_or(0.0, Share::fraction),
        seed: run.seed,
        held_requests: load.held_requests,
        changed_rate: None,
    };
    plan(load, run, Role::Emit(emit))
}

/// The sinks follow one trace in this many: which gateways delivered it.
const TRACE_ONE_IN: u64 = 100;

/// A sink's. The first of them reads the Collectors' metrics.
pub(super) fn sink(scenario: &Scenario, run: Run, first: bool) -> Plan {
    let forget = scenario.sabotage.sink_forgets_one_in.map(|one_in| Kind::Forget(Forget { one_in }));
    let scrape =
        |role: &str| Scrape { role: role.to_owned(), host: format!("{role}-metrics"), port: METRICS_PORT };
    let sink = SinkPlan {
        behaviours: Some(Behaviours { behaviours: forget.map(always).into_iter().collect() }),
        // The same for all of them: they choose the same spans.
        seed: run.seed,
        scrape: if first { ["agent", "gateway"].map(scrape).into() } else { Vec::new() },
        metrics: METRICS.map(str::to_owned).into(),
        trace_one_in: TRACE_ONE_IN,
    };
    plan(&scenario.load, run, Role::Sink(sink))
}

/// Returns this part of a load, for its whole time.
fn segments(load: &Load, part: f64) -> Vec<Segment> {
    let of = |rate: Rate| rate.in_a_second() * part;
    let constant = |rate: f64| Segment { duration_ms: 0, shape: Some(Shape::Constant(rate)) };
    if let Some(rate) = load.constant() {
        return vec![constant(of(rate))];
    }
    let segment = |stretch: &Stretch| {
        let shape = match stretch {
            Stretch::Constant(it) => Shape::Constant(of(it.rate)),
            Stretch::Ramp(it) => Shape::Ramp(Ramp { from: of(it.from), to: of(it.to) }),
            Stretch::Step(it) => Shape::Steps(Steps { from: of(it.from), to: of(it.to), count: it.count }),
            Stretch::Spike(it) => Shape::Spike(Peak {
                base: of(it.base),
                peak: of(it.peak),
                after_ms: span_ms(it.after),
                for_ms: span_ms(it.lasts),
            }),
            Stretch::Sine(it) => Shape::Sine(Sine {
                mean: of(it.mean),
                amplitude: of(it.amplitude),
                period_ms: span_ms(it.period),
            }),
        };
        Segment { duration_ms: stretch.lasts().map_or(0, span_ms), shape: Some(shape) }
    };
    // The load goes on for as long as the steps take.
    let rest = afterwards(&load.profile).map(|rate| constant(rate * part));
    load.profile.iter().map(segment).chain(rest).collect()
}

/// Returns the behaviours of a backend, as a step describes it.
pub(super) fn behaviours(backend: &Backend) -> Behaviours {
    let Some(kind) = kind(backend) else { return Behaviours::default() };
    let behaviour = Behaviour {
        per_million: backend.share.map_or(0, per_million),
        window_ms: backend.lasts.map_or(0, span_ms),
        ..always(kind)
    };
    Behaviours { behaviours: vec![behaviour] }
}

/// Returns the kind of behaviour; none if the backend accepts everything.
fn kind(backend: &Backend) -> Option<Kind> {
    if let Some(code) = backend.answers.code() {
        let retry_after_ms = backend.retry_after.map(span_ms);
        return Some(Kind::Refuse(Refuse { code: code.number(), retry_after_ms }));
    }
    Some(match backend.answers {
        Answers::RefuseConnections => Kind::RefuseConnections(Empty {}),
        Answers::ResetConnections => Kind::ResetConnections(Empty {}),
        Answers::ResetStreams => Kind::ResetStreams(Empty {}),
        Answers::Hang => Kind::Hang(Empty {}),
        Answers::Slow(slow) => Kind::Slow(Slow {
            min_ms: slow.min.map_or(0, span_ms),
            max_ms: slow.max.map_or(0, span_ms),
            mean_ms: slow.mean.map_or(0.0, |mean| mean.duration().as_secs_f64() * 1e3),
            take_first: slow.take_first,
        }),
        Answers::Partial(part) => Kind::Partial(Partial { one_in: part.one_in }),
        Answers::ReceiveLimit(limit) => Kind::ReceiveLimit(limit.count()),
        Answers::Forget(part) => Kind::Forget(Forget { one_in: part.one_in }),
        _ => return None,
    })
}

/// Returns a behaviour for every request, until the next change.
fn always(kind: Kind) -> Behaviour {
    Behaviour { kind: Some(kind), ..Behaviour::default() }
}

/// Returns a share in millionths, at least one: 0 stands for all of them.
fn per_million(share: Share) -> u32 {
    // A share is at most 1.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
    let parts = (share.fraction() * 1e6).round() as u32;
    parts.max(1)
}

fn span_ms(span: Span) -> u64 {
    millis(span.duration())
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const RUN: Run = Run { tag: 7, seed: 42 };

    fn scenario(text: &str) -> Scenario {
        Scenario::parse(Path::new("test.yaml"), &format!("name: test\n{text}")).unwrap()
    }

    fn emit_plan(text: &str) -> EmitPlan {
        match emit(&scenario(text), RUN, 1, 4, None).role {
            Some(Role::Emit(plan)) => plan,
            _ => panic!("not an emitter's"),
        }
    }

    fn told(step: &str) -> Vec<Behaviour> {
        let scenario = scenario(&format!("steps: [{{backend: {step}}}]"));
        match &scenario.steps[..] {
            [crate::scenario::Step::Backend(backend)] => behaviours(backend).behaviours,
            _ => panic!("no backend"),
        }
    }

    #[test]
    fn each_emitter_gets_its_part_of_every_rate() {
        let plan = emit_plan("load: {rate: 400/s}\nsabotage: {emitters_at: 50%}");
        let half_of_a_quarter = Segment { duration_ms: 0, shape: Some(Shape::Constant(50.0)) };
        assert_eq!((plan.profile, plan.endpoint.as_str()), (vec![half_of_a_quarter], "http://agent:4317"));
    }

    #[test]
    fn a_profile_that_ends_goes_on_at_its_last_rate() {
        let plan = emit_plan(
            "load: {profile: [{ramp: {from: 40/s, to: 400/s, for: 30s}}], protocol: http, gzip: true}",
        );
        let ramp = Segment { duration_ms: 30_000, shape: Some(Shape::Ramp(Ramp { from: 10.0, to: 100.0 })) };
        let rest = Segment { duration_ms: 0, shape: Some(Shape::Constant(100.0)) };
        assert_eq!(plan.profile, [ramp, rest]);
        assert_eq!((plan.endpoint.as_str(), plan.gzip), ("http://agent:4318", true));
        let sine = emit_plan("load: {profile: [{sine: {mean: 40/s, amplitude: 4/s, period: 10s}}]}");
        assert_eq!(sine.profile.len(), 1, "it lasts until the load's end");
    }

    #[test]
    fn a_backend_is_told_what_the_step_says() {
        assert!(told("{answers: ok}").is_empty());
        let refuse = |code, retry_after_ms| Some(Kind::Refuse(Refuse { code, retry_after_ms }));
        let half = &told("{answers: unavailable, share: 50%, for: 20s, retry_after: 2s}")[0];
        assert_eq!((half.per_million, half.window_ms, half.kind), (500_000, 20_000, refuse(14, Some(2_000))));
        assert_eq!(told("{answers: internal}")[0].kind, refuse(13, None));
        assert_eq!(told("{answers: {receive-limit: 64KiB}}")[0].kind, Some(Kind::ReceiveLimit(65_536)));
        let slow = Slow { min_ms: 500, max_ms: 2_000, mean_ms: 0.0, take_first: false };
        assert_eq!(told("{answers: {slow: {min: 500ms, max: 2s}}}")[0].kind, Some(Kind::Slow(slow)));
        let tiny = &told("{answers: hang, share: 0.00001%}")[0];
        assert_eq!(tiny.per_million, 1, "a small share is not all of them");
    }

    #[test]
    fn only_the_first_sink_reads_the_metrics() {
        let targets = |first| match sink(&scenario(""), RUN, first).role {
            Some(Role::Sink(plan)) => plan.scrape.len(),
            _ => panic!("not a sink's"),
        };
        assert_eq!((targets(true), targets(false)), (2, 0));
    }
}
