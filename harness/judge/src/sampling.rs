//! Sampling: the traces that a tier keeps, and what follows for those that did not arrive.
//!
//! A sampler that decides by the trace ID is deterministic, and the harness knows its configuration and every trace ID: so it
//! knows which traces had to arrive. Of any other policy only the share is known, and the arrivals are compared with that.

use serde::{Deserialize, Serialize};
use spanproof_ledger::{Identity, Range, RangeSet, Stream, Traces, spans_of};
use std::collections::BTreeMap;
use std::time::Duration;

/// The sequence numbers by stream.
type Streams = BTreeMap<Stream, RangeSet>;

/// The largest number of traces of which it is worked out which ones are kept: that takes a second.
const MOST: u64 = 30_000_000;
/// The bound of chance on a share, in standard deviations: it is exceeded once in 1.7 million times.
pub const SIGMAS: f64 = 5.0;

/// The sampling of a tier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// The source: the processor and its configuration, or the scenario.
    pub by: String,
    /// The policy.
    pub keeps: Policy,
    /// The time that a trace waits for the decision, in seconds.
    pub decision_wait_s: f64,
}

/// The policy of a sampler: what it keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Every trace.
    All,
    /// The traces that one of these draws, by the hash of their ID.
    Drawn(Vec<Draw>),
    /// A share of the traces; which ones is not known.
    Share(f64),
}

/// A policy `probabilistic` of the Collector's `tail_sampling`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Draw {
    /// Its `hash_salt`.
    pub salt: String,
    /// Its `sampling_percentage`, as a share.
    pub share: f64,
}

impl Draw {
    /// The salt where none is written.
    pub const DEFAULT_SALT: &str = "default-hash-seed";

    /// Returns `true` if it draws a trace: `FNV-1a(salt, trace ID) ≤ share × (2^64 − 1)`.
    pub fn draws(&self, trace: u128) -> bool {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3);
        let salted = self.salt.as_bytes().iter().fold(0xCBF2_9CE4_8422_2325, step);
        trace.to_be_bytes().iter().fold(salted, step) <= self.threshold()
    }

    fn threshold(&self) -> u64 {
        // The cast saturates.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        let threshold = (self.share * u64::MAX as f64) as u64;
        threshold
    }
}

impl Policy {
    /// Returns the share of all traces that is kept.
    pub fn share(&self) -> f64 {
        match self {
            Self::All => 1.0,
            Self::Drawn(draws) => {
                // With the same salt the one is drawn with the other.
                let mut salts: BTreeMap<&str, f64> = BTreeMap::new();
                for draw in draws {
                    let share = salts.entry(&draw.salt).or_default();
                    *share = share.max(draw.share.clamp(0.0, 1.0));
                }
                1.0 - salts.values().map(|share| 1.0 - share).product::<f64>()
            }
            Self::Share(share) => *share,
        }
    }

    /// Returns `true` if a trace is kept; none if that is not known.
    fn keeps(&self, trace: u128) -> Option<bool> {
        match self {
            Self::All => Some(true),
            Self::Drawn(draws) => Some(draws.iter().any(|draw| draw.draws(trace))),
            Self::Share(_) => None,
        }
    }
}

/// Returns how far from its mean a share of so many traces may be by chance.
pub fn bound(share: f64, traces: u64) -> f64 {
    SIGMAS * (share * (1.0 - share) / traces.max(1) as f64).sqrt()
}

/// The traces of a run, as a policy has them.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// The traces: whole, in part, absent.
    pub traces: Traces,
    /// The traces that had to arrive whole and did not, by the group of streams that share traces.
    pub missing: BTreeMap<u16, RangeSet>,
    /// The number of traces that the policy keeps; none if that is not known.
    pub kept: Option<u64>,
    /// The number of traces that arrived though the policy leaves them out: then it is not the one in force.
    pub unforeseen: u64,
}

impl Sampled {
    /// Compares what was acknowledged of each stream with what arrived of it.
    pub fn of<'a>(
        identity: &Identity,
        keeps: &Policy,
        streams: impl IntoIterator<Item = (Stream, &'a RangeSet, &'a RangeSet)>,
    ) -> Self {
        let traces = Traces::of(identity, streams);
        let mut sampled = Self { traces, missing: BTreeMap::new(), kept: Some(0), unforeseen: 0 };
        let foreseen = matches!(keeps, Policy::All) || sampled.traces.acknowledged() <= MOST;
        for (group, sets) in &sampled.traces.groups {
            let mut missing = sets.partial.clone();
            match keeps {
                Policy::All => missing.extend(&sets.absent),
                Policy::Drawn(_) if foreseen => {
                    let kept = |trace: &u64| keeps.keeps(identity.trace(*group, *trace)) == Some(true);
                    let all = |set: &RangeSet| set.iter().collect::<Vec<_>>();
                    let each =
                        |ranges: Vec<Range>| ranges.into_iter().flat_map(|range| range.start..range.end);
                    let absent: RangeSet = each(all(&sets.absent)).filter(kept).collect();
                    let came = [all(&sets.whole), all(&sets.partial)].concat();
                    let left_out = each(came).filter(|trace| !kept(trace)).count() as u64;
                    sampled.unforeseen += left_out;
                    if let Some(all) = &mut sampled.kept {
                        *all += absent.count() + sets.whole.count() + sets.partial.count() - left_out;
                    }
                    missing.extend(&absent);
                }
                Policy::Drawn(_) | Policy::Share(_) => sampled.kept = None,
            }
            sampled.missing.insert(*group, missing);
        }
        if matches!(keeps, Policy::All) {
            sampled.kept = Some(sampled.traces.acknowledged());
        }
        if sampled.unforeseen > 0 {
            sampled.only_partial();
        }
        sampled
    }

    /// Counts only traces that arrived in part: which others had to arrive is not known after all.
    fn only_partial(&mut self) {
        let partial = self.traces.groups.iter().map(|(group, sets)| (*group, sets.partial.clone()));
        self.missing = partial.collect();
        self.kept = None;
    }

    /// Returns the number of traces that arrived, whole or in part.
    pub fn came(&self) -> u64 {
        self.traces.whole() + self.traces.partial()
    }

    /// Returns the spans of a stream that had to arrive, of those that were acknowledged and did not.
    pub fn missing_of(&self, identity: &Identity, stream: Stream, lost: &RangeSet) -> RangeSet {
        let none = RangeSet::new();
        let traces = self.missing.get(&identity.trace_group(stream)).unwrap_or(&none);
        lost.intersection(&spans_of(traces, identity.spans_per_trace()))
    }

    /// Returns the number of traces that are missing beyond chance.
    fn short(&self, share: f64) -> u64 {
        let all = self.traces.acknowledged();
        let least = (share - bound(share, all)) * all as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "cut off at 0, below 2^53"
        )]
        let short = (least - self.came() as f64).max(0.0).ceil() as u64;
        short
    }
}

/// The demand of a run: which acknowledged spans have to arrive.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    identity: Identity,
    sampling: Option<Sampling>,
}

impl Demand {
    /// Returns the demand of a run whose spans have these identities.
    pub const fn new(identity: Identity, sampling: Option<Sampling>) -> Self {
        Self { identity, sampling }
    }

    /// Returns the time that a trace may wait for a sampler's decision, with the second in which it looks.
    pub fn decision_wait(&self) -> Duration {
        let seconds =
            self.sampling.as_ref().map(|sampling| sampling.decision_wait_s).filter(|wait| *wait > 0.0);
        let seconds = seconds.and_then(|wait| Duration::try_from_secs_f64(wait).ok());
        seconds.map_or_else(Default::default, |wait| wait.saturating_add(Duration::from_secs(2)))
    }

    /// Returns the least time to wait before the arrivals are conclusive, where it is not known which traces have to arrive.
    pub fn least_wait(&self) -> Duration {
        match self.sampling.as_ref().map(|sampling| &sampling.keeps) {
            Some(Policy::Share(_)) => self.decision_wait(),
            Some(Policy::All | Policy::Drawn(_)) | None => Duration::ZERO,
        }
    }

    /// Returns the number of acknowledged spans that have to arrive and have not. Where only a share is known: those of traces
    /// that arrived in part, and as many as are missing to the share for certain.
    pub fn outstanding(&self, acknowledged: &Streams, delivered: &Streams) -> u64 {
        let lost = lost(acknowledged, delivered);
        let Some(sampling) = self.sampling.as_ref().filter(|sampling| sampling.keeps != Policy::All) else {
            return count(&lost);
        };
        let sampled = self.sampled(&sampling.keeps, acknowledged, delivered);
        let of =
            |(stream, lost): (&Stream, &RangeSet)| sampled.missing_of(&self.identity, *stream, lost).count();
        let missing: u64 = lost.iter().map(of).sum();
        if sampled.kept.is_some() {
            return missing;
        }
        let short = sampled.short(sampling.keeps.share());
        missing.saturating_add(short.saturating_mul(self.identity.spans_per_trace()))
    }

    /// The same for those who wait for the very last span: where only a share is known, nothing says that it has arrived.
    pub fn not_yet(&self, acknowledged: &Streams, delivered: &Streams) -> u64 {
        match self.sampling.as_ref().map(|sampling| &sampling.keeps) {
            Some(keeps @ (Policy::Drawn(_) | Policy::Share(_)))
                if self.sampled(keeps, acknowledged, delivered).kept.is_none() =>
            {
                count(&lost(acknowledged, delivered))
            }
            Some(Policy::All | Policy::Drawn(_) | Policy::Share(_)) | None => {
                self.outstanding(acknowledged, delivered)
            }
        }
    }

    fn sampled(&self, keeps: &Policy, acknowledged: &Streams, delivered: &Streams) -> Sampled {
        let none = RangeSet::new();
        let streams = acknowledged.iter();
        let streams = streams.map(|(stream, taken)| (*stream, taken, delivered.get(stream).unwrap_or(&none)));
        Sampled::of(&self.identity, keeps, streams)
    }
}

/// Returns what is acknowledged and has not arrived.
fn lost(acknowledged: &Streams, delivered: &Streams) -> Streams {
    let none = RangeSet::new();
    let lost = |stream, taken: &RangeSet| taken.difference(delivered.get(stream).unwrap_or(&none));
    acknowledged.iter().map(|(stream, taken)| (*stream, lost(stream, taken))).collect()
}

fn count(streams: &Streams) -> u64 {
    streams.values().map(RangeSet::count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quarter() -> Policy {
        Policy::Drawn(vec![Draw { salt: Draw::DEFAULT_SALT.to_owned(), share: 0.25 }])
    }

    /// As `tail_sampling` v0.160 and v0.161 decided.
    #[test]
    fn the_draw_is_the_collectors() {
        let kept = [
            0xa7d7_6d43_f144_6bea_b0c1_1fde_cb91_ce37,
            0xa7f7_108e_f770_c226_3266_aa3b_b0cd_e917,
            0xa705_85a0_4c7d_6df0_621a_ef57_e4cc_4132,
            0xa796_0d5a_9a65_6aaf_d141_2584_4d25_deb3,
        ];
        let left_out = [
            0xa75b_c8fb_bde5_c099_4164_d839_9f76_7c45,
            0xa787_b0b1_ec1d_7da0_a6eb_8c9e_bd69_fe29,
            0xa7c6_a538_7733_0bdb_d721_0dff_076c_e2ef,
            0xa70d_4641_a623_3255_3fc1_ea36_f17f_d374,
        ];
        for trace in kept {
            assert_eq!(quarter().keeps(trace), Some(true), "{trace:032x}");
        }
        for trace in left_out {
            assert_eq!(quarter().keeps(trace), Some(false), "{trace:032x}");
        }
    }

    fn all(spans: u64) -> RangeSet {
        std::iter::once(Range::new(0, spans)).collect()
    }

    /// The spans of the traces that are drawn.
    fn drawn(identity: &Identity, traces: u64) -> RangeSet {
        let kept = (0..traces).filter(|trace| quarter().keeps(identity.trace(0, *trace)) == Some(true));
        spans_of(&kept.collect(), identity.spans_per_trace())
    }

    #[test]
    fn about_the_share_is_drawn_and_what_is_drawn_has_to_come() {
        let identity = Identity::new(7, 10, 1);
        let (taken, mut came) = (all(100_000), drawn(&identity, 10_000));
        let sampled = Sampled::of(&identity, &quarter(), [(1, &taken, &came)]);
        assert_eq!((sampled.traces.partial(), sampled.unforeseen), (0, 0));
        assert_eq!(sampled.kept, Some(sampled.came()));
        assert!((sampled.came() as f64 / 1e4 - 0.25).abs() < bound(0.25, 10_000), "{}", sampled.came());
        assert!(sampled.missing.values().all(RangeSet::is_empty));

        // One whole trace that was drawn, and one span of another one.
        let kept: Vec<u64> = came.iter().map(|range| range.start).take(2).collect();
        let (first, second) = (kept[0], kept[1]);
        came = came.difference(
            &[Range::new(first, first + 10), Range::new(second, second + 1)].into_iter().collect(),
        );
        let sampled = Sampled::of(&identity, &quarter(), [(1, &taken, &came)]);
        assert_eq!(sampled.missing[&0].count(), 2);
        let missing = sampled.missing_of(&identity, 1, &taken.difference(&came));
        assert_eq!(missing.count(), 11);

        // Another policy is in force than the one that is known.
        let sampled = Sampled::of(&identity, &quarter(), [(1, &taken, &all(10_000))]);
        assert!(sampled.unforeseen > 0 && sampled.kept.is_none());
        assert!(sampled.missing[&0].is_empty());
    }

    #[test]
    fn the_shares_of_draws_add_up_as_they_are_independent() {
        let draw = |salt: &str, share| Draw { salt: salt.to_owned(), share };
        let two = |other| Policy::Drawn(vec![draw("a", 0.5), draw(other, 0.2)]).share();
        assert!((two("b") - 0.6).abs() < 1e-9 && (two("a") - 0.5).abs() < 1e-9);
        assert!(Policy::Drawn(vec![draw("a", 1.0)]).keeps(u128::MAX) == Some(true));
        assert!(Policy::Drawn(Vec::new()).keeps(0) == Some(false));
    }

    #[test]
    fn a_run_waits_for_what_has_to_come() {
        let identity = Identity::new(7, 10, 1);
        let streams = |set: RangeSet| Streams::from([(1, set)]);
        let demand = |keeps: Option<Policy>| {
            let sampling = keeps.map(|keeps| Sampling { by: String::new(), keeps, decision_wait_s: 10.0 });
            Demand::new(identity, sampling)
        };
        let (taken, came) = (streams(all(100_000)), streams(drawn(&identity, 10_000)));
        assert_eq!(demand(None).outstanding(&taken, &came), 100_000 - came[&1].count());
        assert_eq!(demand(Some(Policy::All)).outstanding(&taken, &came), 100_000 - came[&1].count());
        assert_eq!(demand(Some(quarter())).outstanding(&taken, &came), 0);
        assert_eq!(demand(Some(quarter())).not_yet(&taken, &came), 0);
        let shared = demand(Some(Policy::Share(0.25)));
        assert_eq!(shared.outstanding(&taken, &came), 0);
        assert!(shared.not_yet(&taken, &came) > 0, "which ones are to come is not known");
        assert!(shared.outstanding(&taken, &streams(all(10_000))) > 10_000);
        assert_eq!(shared.decision_wait().as_secs(), 12);
    }

    proptest! {
        /// However little came, and of which traces: what is missing was acknowledged, did not come, and is of a trace that
        /// came in part or that is kept.
        #[test]
        fn nothing_is_missing_without_cause(
            came in prop::collection::btree_set(0u64..400, 0..60), share in 0.0f64..1.0,
        ) {
            let identity = Identity::new(3, 4, 1);
            let (taken, came): (_, RangeSet) = (all(400), came.into_iter().collect());
            let keeps = Policy::Drawn(vec![Draw { salt: "x".to_owned(), share }]);
            let sampled = Sampled::of(&identity, &keeps, [(1, &taken, &came)]);
            let lost = taken.difference(&came);
            for seq in sampled.missing_of(&identity, 1, &lost).iter().flat_map(|range| range.start..range.end) {
                let trace = seq / 4;
                let some = (trace * 4..trace * 4 + 4).any(|seq| came.contains(seq));
                let kept = keeps.keeps(identity.trace(0, trace)) == Some(true) && sampled.unforeseen == 0;
                prop_assert!(lost.contains(seq) && (some || kept));
            }
        }
    }
}
