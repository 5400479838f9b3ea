//! What the checks demand, how the end is awaited, and what is broken on purpose.

use super::{Allowance, Share, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the checks demand beyond what always holds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// The longest time without any delivery while load is offered; not judged if it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_gap: Option<Span>,
    /// How soon after a spike began the HPA must have more gateways ready.
    pub scale_out_within: Span,
    /// How soon after a spike ended the HPA must be back at what it had before.
    pub scale_in_within: Span,
    /// How soon after it became ready a gateway must have its share of every stream.
    pub share_within: Span,
    /// How soon after the backend took spans again every queue must be as it was.
    pub queues_empty_within: Span,
    /// The longest time for which an agent may refuse spans; not judged if it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_for: Option<Span>,
    /// How many spans applications with a default SDK may lose, all of them together.
    pub sdk_dropped: u64,
    /// How many spans may be delivered more than once: a share of what was delivered, or a number; not judged if it
    /// is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicated: Option<Allowance>,
}

/// How the end of a run is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settle {
    /// How much longer duplicates are waited for when everything is there.
    pub tail: Span,
    /// When waiting ends in any case.
    pub deadline: Span,
}

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sabotage {
    /// The sink acknowledges and forgets every copy of the spans with
    /// `hash(seed, span ID) mod N = 0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub sink_forgets_one_in: Option<u64>,
    /// The emitters offer only this share of the asked rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emitters_at: Option<Share>,
}

impl Sabotage {
    /// Whether nothing is broken on purpose.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            delivery_gap: None,
            scale_out_within: Span::seconds(90),
            scale_in_within: Span::seconds(240),
            // A connection's greatest age with its jitter, and the pause of gRPC's resolver: 66 s + 30 s.
            share_within: Span::seconds(100),
            queues_empty_within: Span::seconds(60),
            refused_for: None,
            sdk_dropped: 0,
            duplicated: None,
        }
    }
}

impl Default for Settle {
    fn default() -> Self {
        Self { tail: Span::seconds(5), deadline: Span::seconds(180) }
    }
}
