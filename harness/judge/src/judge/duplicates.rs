//! Were no more spans delivered more than once than the scenario allows, and who sent these again? At-least-once delivery
//! does that, so it is judged only where the scenario says how many are too many.

use super::gateways::Gateways;
use super::{Context, Finding, Verdict, emitters_untold, grouped, sinks_untold};
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
        untold: emitters_untold(record).or_else(|| sinks_untold(record)),
        unsettled,
        delivered: counts.delivered,
        duplicated: counts.duplicated,
        limit,
    };
    let (verdict, said) = facts.verdict();
    let said = said.unwrap_or_else(|| {
        let (duplicated, delivered) = (grouped(counts.duplicated), grouped(counts.delivered));
        let parts = from.told();
        format!("{duplicated} of {delivered} spans were delivered more than once (allowed: {allowed}){parts}")
    });
    Some(Finding::new((verdict, said), evidence))
}

/// What decides.
struct Facts {
    untold: Option<String>,
    unsettled: Option<String>,
    delivered: u64,
    duplicated: u64,
    limit: f64,
}

impl Facts {
    /// The verdict, and why if it is not the count that says so.
    fn verdict(self) -> (Verdict, Option<String>) {
        if let Some(untold) = self.untold {
            return (Verdict::Inconclusive, Some(untold));
        }
        if self.delivered == 0 {
            return (Verdict::Inconclusive, Some("nothing was delivered".to_owned()));
        }
        if self.duplicated as f64 > self.limit {
            return (Verdict::Fail, None);
        }
        // More can only make it worse.
        match self.unsettled {
            Some(unsettled) => (Verdict::Inconclusive, Some(unsettled)),
            None => (Verdict::Pass, None),
        }
    }
}

/// Who sent again what came more than once: how many spans.
#[derive(Debug, Default)]
struct Origins {
    /// The emitter had sent them more than once itself.
    emitter: u64,
    /// They came through more than one gateway: the agent sent them again.
    several: u64,
    /// They came through one gateway more than once: it sent them again, or the agent did.
    one: u64,
    /// Who delivered them is not known.
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
            let told = seen.difference(&strange);
            let told = rest.intersection(&told);
            all.several += told.intersection_count(&several);
            all.one += told.difference(&several).count();
            all.unknown += rest.difference(&told).count();
        }
        // A ledger that is there without its records says how many, and not who.
        let found = all.emitter + all.several + all.one + all.unknown;
        all.unknown += account.counts.duplicated.saturating_sub(found);
        all
    }

    fn told(&self) -> String {
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
        let verdict = |untold: Option<&str>, unsettled: Option<&str>, delivered, duplicated| {
            let (untold, unsettled) = (untold.map(str::to_owned), unsettled.map(str::to_owned));
            Facts { untold, unsettled, delivered, duplicated, limit: 10.0 }.verdict().0
        };
        assert_eq!(verdict(None, None, 1_000, 10), Verdict::Pass);
        assert_eq!(verdict(None, None, 1_000, 11), Verdict::Fail);
        assert_eq!(verdict(None, Some("more"), 1_000, 11), Verdict::Fail, "more makes it no better");
        assert_eq!(verdict(None, Some("more"), 1_000, 10), Verdict::Inconclusive);
        assert_eq!(verdict(Some("open"), None, 1_000, 11), Verdict::Inconclusive);
        assert_eq!(verdict(None, None, 0, 0), Verdict::Inconclusive);
    }
}
