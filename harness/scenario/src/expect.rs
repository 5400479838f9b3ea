//! The limits that the checks apply, the end of a run, and sabotage.

use super::{Allowance, Share, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The limits that the checks apply, beyond what they always demand.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// The longest time without a delivery while load is offered. Not judged if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_gap: Option<Span>,
    /// The time from the beginning of a spike in which the HPA must have more gateways ready.
    pub scale_out_within: Span,
    /// The time from the end of a spike in which the HPA must be back at its earlier number of gateways.
    pub scale_in_within: Span,
    /// The time from a gateway's readiness in which it must get its share of every stream.
    pub share_within: Span,
    /// The time from the end of an outage of the backend in which every queue must be as it was before.
    pub queues_empty_within: Span,
    /// The longest time for which an agent may refuse spans. Not judged if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_for: Option<Span>,
    /// The number of spans that all applications together may lose if they use an SDK with default settings. A scenario
    /// that rolls the agents needs more than 0.
    pub sdk_dropped: u64,
    /// The number of spans that may be delivered more than once, or their share of the delivered ones. Not judged if it is
    /// left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicated: Option<Allowance>,
}

/// The wait for the rest at the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settle {
    /// The further wait for duplicates after everything has arrived.
    pub tail: Span,
    /// The time after which the wait ends in any case.
    pub deadline: Span,
}

/// Sabotage of the measurement itself, so that a check must fail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sabotage {
    /// The sink acknowledges, and then forgets, every copy of one span in N: those with `hash(seed, span ID) mod N = 0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub sink_forgets_one_in: Option<u64>,
    /// The share of the requested rate that the emitters offer instead of all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emitters_at: Option<Share>,
}

impl Sabotage {
    /// Returns whether nothing is broken on purpose.
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
