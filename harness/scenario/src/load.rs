//! The load that the emitters offer.

use super::field_path::ensure;
use super::profile::{self, Stretch};
use super::{FieldPath, Problem, Rate, Share, Span, bounds, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The rate where neither a rate nor a profile is given, in spans per second.
const DEFAULT_RATE: f64 = 2_000.0;
/// The largest request that OTLP receivers take, in bytes; each span has a few more than its payload and attributes.
const LARGEST_REQUEST: u64 = 64 << 20;

/// The load that all emitters together offer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Load {
    /// Spans per second, all emitters together; one runs on each worker. `2000/s` where there is no `profile` either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Stretches of load, one after the other, in place of `rate`. After the last one its last rate is kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profile: Vec<Stretch>,
    /// The longest random delay of a request, as a share of the time until the next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Share>,
    /// Spans in a request.
    #[schemars(range(min = 1))]
    pub spans_per_request: u32,
    /// Consecutive spans of a stream that share a trace.
    #[schemars(range(min = 1))]
    pub spans_per_trace: u32,
    /// Streams that have spans in the same trace; each emitter sends one.
    #[schemars(range(min = 1, max = 65_535))]
    pub streams_per_trace: u32,
    /// Length of each span's text attribute, in bytes.
    pub payload_bytes: u32,
    /// Attributes of each span besides sequence number and payload.
    pub attributes: u32,
    /// Adds a checksum of the payload to each span, which the sink verifies.
    pub checksum: bool,
    /// The protocol between the emitters and the agents.
    pub protocol: Protocol,
    /// TLS between the emitters and the agents. Without it the connections are plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Compresses the requests.
    pub gzip: bool,
    /// Connections of each emitter to its agent.
    #[schemars(range(min = 1, max = 1_024))]
    pub connections: u32,
    /// Requests of each emitter that can be under way at the same time, over all of its connections.
    #[schemars(range(min = 1, max = 65_536))]
    pub in_flight: u32,
    /// The time that an agent has to answer one attempt.
    pub deadline: Span,
    /// Requests that each emitter can hold, unsent or unanswered, before its schedule slips.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub held_requests: u32,
    /// The share of the requested rate below which the check `load` is inconclusive.
    pub floor: Share,
}

/// A protocol that the agents understand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// OTLP/gRPC, to port 4317.
    #[default]
    Grpc,
    /// OTLP/HTTP with protobuf, to port 4318.
    Http,
}

/// TLS with the agents. The files are in PEM format; a relative path starts at the scenario's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate of the authority that signed the agents' certificates. No other authority is trusted.
    pub ca: PathBuf,
    /// The emitters' own certificate, for mutual TLS. Needs `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The private key of `certificate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The name in the agents' certificates, where it is not `agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            rate: None,
            profile: Vec::new(),
            jitter: None,
            spans_per_request: 50,
            spans_per_trace: 10,
            streams_per_trace: 1,
            payload_bytes: 128,
            attributes: 0,
            checksum: false,
            protocol: Protocol::Grpc,
            tls: None,
            gzip: false,
            connections: 1,
            in_flight: 24,
            deadline: Span::seconds(10),
            held_requests: 4_096,
            floor: Share::percent(90.0),
        }
    }
}

impl Load {
    /// Returns the constant rate; none if there is a profile.
    pub fn constant(&self) -> Option<Rate> {
        self.profile.is_empty().then(|| self.rate.unwrap_or(Rate::per_second(DEFAULT_RATE)))
    }

    /// Returns the number of spans that it asks for between two moments, in seconds since it began.
    pub fn spans(&self, from: f64, to: f64) -> f64 {
        match self.constant() {
            Some(rate) => rate.in_a_second() * (to - from),
            None => profile::spans(&self.profile, from, to),
        }
    }

    /// Returns a short description for reports.
    pub fn offers(&self) -> String {
        match (self.constant(), self.profile.len()) {
            (Some(rate), _) => rate.to_string(),
            (None, 1) => "a profile of one stretch".to_owned(),
            (None, stretches) => format!("a profile of {stretches} stretches"),
        }
    }

    /// Fills in the rate and makes paths absolute.
    pub(super) fn resolve(&mut self, folder: &Path) {
        self.rate = self.constant();
        if let Some(tls) = &mut self.tls {
            for path in [Some(&mut tls.ca), tls.certificate.as_mut(), tls.key.as_mut()].into_iter().flatten()
            {
                *path = folder.join(&*path);
            }
        }
    }

    /// Checks what its fields must fulfil besides their types.
    pub(super) fn check(&self, at: &FieldPath) -> Result<(), Problem> {
        let exclude = self.rate.is_none() || self.profile.is_empty();
        ensure(exclude, &at.then("profile"), "`rate` and `profile` exclude each other")?;
        profile::check(&self.profile, &at.then("profile"))?;
        bounds::check(self, at)?;
        self.rate.map_or(Ok(()), |rate| limits::rate(rate, &at.then("rate")))?;
        for (name, share) in [("jitter", self.jitter), ("floor", Some(self.floor))] {
            share.map_or(Ok(()), |share| limits::share(share, &at.then(name)))?;
        }
        limits::time(self.deadline, &at.then("deadline"))?;
        limits::some(self.deadline, at, "deadline")?;
        let together = self.tls.as_ref().is_none_or(|tls| tls.certificate.is_some() == tls.key.is_some());
        ensure(together, &at.then("tls"), "`certificate` and `key` go together")?;
        self.fits(at)
    }

    /// Checks the size of a request, which its fields determine together.
    fn fits(&self, at: &FieldPath) -> Result<(), Problem> {
        let span = u64::from(self.payload_bytes) + u64::from(self.attributes) + 1;
        let request = span.saturating_mul(self.spans_per_request.into());
        let name = if self.payload_bytes >= self.attributes { "payload_bytes" } else { "attributes" };
        let name = if u64::from(self.spans_per_request) > span { "spans_per_request" } else { name };
        let fits = request <= LARGEST_REQUEST;
        ensure(fits, &at.then(name), format!("with this `{name}` a request would be larger than 64 MiB"))
    }
}
