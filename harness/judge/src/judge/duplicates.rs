//! The check `duplicates`: no more spans were delivered more than once than the scenario allows. At-least-once delivery
//! does that, so it is judged only where the scenario sets a limit; the evidence says who sent them again.

use super::gateways::Gateways;
use super::{Context, Finding, Verdict, emitters_incomplete, grouped, sinks_incomplete};
use crate::record::{Record, SettleEnd};
use serde_json::json;
use spanproof_ledger::{Account, EmitterLedger, RangeSet};

pub(super) fn check(context: &Context<'_>) -> Option<Finding> {
    let Context { record, story, account, gateways, .. } = context;
    let allowed = record.scenario.expect.duplicated?;
    let counts = account.counts;
    let limit = allowed.of(counts.delivered);
    let from = Origins::of(record, account, gateways);
    let evidence = json!({
        "duplicated": counts.duplicated,
        "of_delivered": counts.delivered,
        "limit": limit.floor(),
        "extra_copies": counts.extra_copies,
        "resent_by_the_emitters": from.emitter,
        "through_several_gateways": from.several,
        "through_one_gateway": from.one,
        "origin_not_known": from.unknown,
    });
    let unsettled = match story.settled {
        Some((SettleEnd::Complete | SettleEnd::Quiet | SettleEnd::TakenDown, ..)) => None,
        Some((SettleEnd::Unread | SettleEnd::Deadline | SettleEnd::Interrupted, ..)) | None => {
            Some("the rest was not waited for, and more may have come twice".to_owned())
        }
    };
    let facts = Facts {
        incomplete: emitters_incomplete(record).or_else(|| sinks_incomplete(record)),
        unsettled,
        delivered: counts.delivered,
        duplicated: counts.duplicated,
        limit,
    };
    let (verdict, said) = facts.decide();
    let said = said.unwrap_or_else(|| {
        let (duplicated, delivered) = (grouped(counts.duplicated), grouped(counts.delivered));
        let parts = from.describe();
        format!("{duplicated} of {delivered} spans were delivered more than once (allowed: {allowed}){parts}")
    });
    Some(Finding::new((verdict, said), evidence))
}

/// The facts that decide about duplicates.
struct Facts {
    incomplete: Option<String>,
    unsettled: Option<String>,
    delivered: u64,
    duplicated: u64,
    limit: f64,
}

impl Facts {
    /// Returns the verdict, and its reason unless the count is the reason.
    fn decide(self) -> (Verdict, Option<String>) {
        if let Some(incomplete) = self.incomplete {
            return (Verdict::Inconclusive, Some(incomplete));
        }
        if self.delivered == 0 {
            return (Verdict::Inconclusive, Some("nothing was delivered".to_owned()));
        }
        if self.duplicated as f64 > self.limit {
            return (Verdict::Fail, None);
        }
        // More duplicates can only make it worse.
        match self.unsettled {
            Some(unsettled) => (Verdict::Inconclusive, Some(unsettled)),
            None => (Verdict::Pass, None),
        }
    }
}

/// The numbers of spans that were delivered more than once, by who sent them again.
#[derive(Debug, Default)]
struct Origins {
    /// The emitter had sent them more than once itself.
    emitter: u64,
    /// They came through more than one gateway: the agent sent them again.
    several: u64,
    /// They came through one gateway more than once: it sent them again, or the agent did.
    one: u64,
    /// It is not known who delivered them.
    unknown: u64,
}

impl Origins {
    fn of(record: &Record, account: &Account, gateways: &Gateways<'_>) -> Self {
        let mut all = Self::default();
        for stream in account.streams.keys().copied() {
            let twice = record.copies.duplicated(stream);
            let emitters = record.emitters.iter().filter(|emitter| emitter.stream() == stream);
            let resent = RangeSet::union(emitters.map(EmitterLedger::resent));
            all.emitter += twice.intersection_count(&resent);
            let (mut seen, mut several, mut strange) = (RangeSet::new(), RangeSet::new(), RangeSet::new());
            for (who, since, spans) in record.copies.delivered_by(stream) {
                several.extend(&seen.intersection(spans));
                seen.extend(spans);
                let t = record.moment(&record.environment.sink_node, since);
                if gateways.who(who, t).is_none() {
                    strange.extend(spans);
                }
            }
            let rest = twice.difference(&resent);
            let known = seen.difference(&strange);
            let known = rest.intersection(&known);
            all.several += known.intersection_count(&several);
            all.one += known.difference(&several).count();
            all.unknown += rest.difference(&known).count();
        }
        // A ledger without its records gives the number, and not the sender.
        let found = all.emitter + all.several + all.one + all.unknown;
        all.unknown += account.counts.duplicated.saturating_sub(found);
        all
    }

    fn describe(&self) -> String {
        let parts = [
            (self.emitter, "resent by the emitter"),
            (self.several, "through several gateways, so sent again by an agent"),
            (self.one, "through one gateway more than once, so sent again by it or by an agent"),
            (self.unknown, "by whom is not known"),
        ];
        let parts = parts.into_iter().filter(|(spans, _)| *spans > 0);
        let parts: Vec<_> = parts.map(|(spans, what)| format!("{} {what}", grouped(spans))).collect();
        if parts.is_empty() { String::new() } else { format!(": {}", parts.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_allowed_fails_and_what_may_still_come_decides_nothing() {
        let verdict = |incomplete: Option<&str>, unsettled: Option<&str>, delivered, duplicated| {
            let (incomplete, unsettled) = (incomplete.map(str::to_owned), unsettled.map(str::to_owned));
            Facts { incomplete, unsettled, delivered, duplicated, limit: 10.0 }.decide().0
        };
        assert_eq!(verdict(None, None, 1_000, 10), Verdict::Pass);
        assert_eq!(verdict(None, None, 1_000, 11), Verdict::Fail);
        assert_eq!(verdict(None, Some("more"), 1_000, 11), Verdict::Fail, "more makes it no better");
        assert_eq!(verdict(None, Some("more"), 1_000, 10), Verdict::Inconclusive);
        assert_eq!(verdict(Some("open"), None, 1_000, 11), Verdict::Inconclusive);
        assert_eq!(verdict(None, None, 0, 0), Verdict::Inconclusive);
    }
}
