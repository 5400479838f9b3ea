//! A backend that misbehaves: what the shipped tier survives, and what it cannot.

use crate::probe::{RUN_TAG, SPANS_PER_TRACE, STREAM};
use crate::tier::{SEED, Setup, Tier};
use rstest::rstest;
use spanproof_ledger::{Identity, PARTIAL, RangeSet, SpanIdentity, is_selected};
use spanproof_probe::control::{Empty, Forget, Partial, Refuse, Slow, behaviour::Kind};

const fn refuse(code: u32) -> Kind {
    Kind::Refuse(Refuse { code, retry_after_ms: None })
}

const fn throttle(retry_after_ms: u64) -> Kind {
    Kind::Refuse(Refuse { code: 8, retry_after_ms: Some(retry_after_ms) })
}

const fn slow(min_ms: u64, max_ms: u64, mean_ms: f64) -> Kind {
    Kind::Slow(Slow { min_ms, max_ms, mean_ms, take_first: false })
}

/// Spans that are refused with a temporary error are sent again, whatever share of the requests is refused (in
/// millionths; 0: all).
#[rstest]
#[ignore = "nightly"]
#[case::unavailable(300_000, refuse(14))]
#[ignore = "nightly"]
#[case::a_deadline_exceeded(300_000, refuse(4))]
#[case::throttling_that_says_for_how_long(300_000, throttle(500))]
#[ignore = "nightly"]
#[case::refused_connections(0, Kind::RefuseConnections(Empty {}))]
#[case::reset_connections(0, Kind::ResetConnections(Empty {}))]
#[ignore = "nightly"]
#[case::answers_between_1_and_3_s(0, slow(1_000, 3_000, 0.0))]
#[ignore = "nightly"]
#[case::answers_after_2_s_in_the_mean_some_too_late(0, slow(0, 0, 2_000.0))]
#[ignore = "nightly"]
#[case::hanging(300_000, Kind::Hang(Empty {}))]
#[tokio::test]
async fn what_is_sent_again_arrives(#[case] per_million: u32, #[case] kind: Kind) {
    let tier = Tier::start(Setup::default()).await;
    tier.delivers(5_000).await;
    tier.backend_for_a_share(per_million, kind).await;
    tier.acknowledges(20_000).await;
    tier.until("a request that something was done to", |now| now.misbehaved > 0).await;
    tier.backend_heals().await;
    tier.finish().await.nothing_is_lost(25_000);
}

/// After a permanent error the Collector drops the spans: they are lost, and the code is recorded.
#[rstest]
#[case::reset_streams(Kind::ResetStreams(Empty {}), 13)]
#[ignore = "nightly"]
#[case::invalid_argument(refuse(3), 3)]
#[ignore = "nightly"]
#[case::permission_denied(refuse(7), 7)]
#[ignore = "nightly"]
#[case::unimplemented(refuse(12), 12)]
#[ignore = "nightly"]
#[case::internal(refuse(13), 13)]
#[ignore = "nightly"]
#[case::unauthenticated(refuse(16), 16)]
#[ignore = "nightly"]
#[case::throttling_that_does_not_say_for_how_long(refuse(8), 8)]
#[ignore = "nightly"]
#[case::a_partial_success(Kind::Partial(Partial { one_in: 10 }), PARTIAL)]
#[ignore = "nightly"]
#[case::a_small_receive_limit(Kind::ReceiveLimit(1_000), 8)]
#[tokio::test]
async fn what_is_refused_for_good_is_lost(#[case] kind: Kind, #[case] code: u8) {
    let tier = Tier::start(Setup::default()).await;
    tier.delivers(5_000).await;
    tier.backend(kind).await;
    tier.acknowledges(10_000).await;
    tier.backend_heals().await;
    tier.delivers(5_000).await;
    tier.finish().await.spans_are_refused(15_000, code);
}

/// A backend that answers OK and forgets: the lost spans are the forgotten ones, and nothing was refused.
#[tokio::test]
async fn what_the_backend_forgets_is_lost() {
    const ONE_IN: u64 = 100;
    let tier = Tier::start(Setup::default()).await;
    tier.backend(Kind::Forget(Forget { one_in: ONE_IN })).await;
    tier.acknowledges(16_000).await;
    let outcome = tier.finish().await;
    let identity = Identity::new(RUN_TAG, SPANS_PER_TRACE, 1);
    let is_forgotten =
        |seq: &u64| is_selected(SEED, identity.span_id(SpanIdentity { stream: STREAM, seq: *seq }), ONE_IN);
    let acknowledged = outcome.emitter.acknowledged().iter().flat_map(|range| range.start..range.end);
    let forgotten: RangeSet = acknowledged.filter(is_forgotten).collect();
    outcome.spans_vanish(16_000);
    // But for those that arrived before the backend was told to forget.
    assert!(outcome.lost().difference(&forgotten).is_empty(), "lost, and not forgotten");
    let first = outcome.lost().iter().next().unwrap().start;
    let since: RangeSet = forgotten.within(spanproof_ledger::Range::new(first, u64::MAX));
    assert_eq!(*outcome.lost(), since);
}
