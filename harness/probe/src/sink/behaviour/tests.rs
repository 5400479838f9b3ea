use super::*;
use crate::control::{Empty, Forget, Partial};

fn told(kind: Kind) -> Behaviour {
    Behaviour { kind: Some(kind), ..Behaviour::default() }
}

fn conduct(behaviours: Vec<Behaviour>) -> Conduct {
    Conduct::of(3, &Behaviours { behaviours }).unwrap()
}

fn refuse(code: u32) -> Kind {
    Kind::Refuse(Refuse { code, retry_after_ms: None })
}

fn slow(min_ms: u64, max_ms: u64, mean_ms: f64) -> Slow {
    Slow { min_ms, max_ms, mean_ms, take_first: false }
}

#[test]
fn nonsense_is_refused_by_its_place() {
    let share = |per_million, kind| Behaviour { per_million, ..told(kind) };
    let nonsense = [
        Behaviour::default(),
        told(refuse(0)),
        told(refuse(17)),
        told(Kind::Partial(Partial { one_in: 0 })),
        told(Kind::Forget(Forget { one_in: 0 })),
        told(Kind::ReceiveLimit(0)),
        told(Kind::Slow(slow(5, 4, 0.0))),
        told(Kind::Slow(slow(5, 4, 1.0))),
        told(Kind::Slow(slow(0, 0, 0.0))),
        told(Kind::Slow(slow(0, 0, f64::NAN))),
        told(Kind::Slow(slow(0, 9, -1.0))),
        share(1, Kind::RefuseConnections(Empty {})),
        share(1_000_001, refuse(14)),
    ];
    for behaviour in nonsense {
        let behaviours = Behaviours { behaviours: vec![told(refuse(14)), behaviour] };
        let problem = Conduct::of(0, &behaviours).unwrap_err();
        assert!(problem.starts_with("behaviour 1: "), "{behaviour:?}: {problem}");
    }
}

#[test]
fn the_first_that_hits_is_done_and_a_window_ends_by_itself() {
    let window = Behaviour { window_ms: 500, told_unix_ms: 1_000, ..told(Kind::Hang(Empty {})) };
    let conduct = conduct(vec![told(Kind::ReceiveLimit(100)), window, told(refuse(8))]);
    assert_eq!(conduct.to_request(1_499, 0, 101), Deed::TooLarge(100));
    assert_eq!(conduct.to_request(1_499, 0, 100), Deed::Hang { until_unix_ms: 1_500 });
    assert_eq!(conduct.to_request(1_500, 0, 100), Deed::Refuse(Refuse { code: 8, retry_after_ms: None }));
    assert_eq!((conduct.changes_unix_ms(1_499), conduct.changes_unix_ms(1_500)), (1_500, u64::MAX));
    assert_eq!(Conduct::default().to_request(0, 0, 0), Deed::Take);
}

#[test]
fn a_share_is_the_same_for_the_same_seed_and_two_shares_are_independent() {
    let half = |kind| Behaviour { per_million: 500_000, ..told(kind) };
    let conduct = conduct(vec![half(refuse(14)), half(Kind::ResetStreams(Empty {}))]);
    let deeds: Vec<Deed> = (0..10_000).map(|number| conduct.to_request(0, number, 1)).collect();
    let again: Vec<Deed> = (0..10_000).map(|number| conduct.to_request(0, number, 1)).collect();
    assert_eq!(deeds, again);
    let count = |wanted: fn(&Deed) -> bool| deeds.iter().filter(|deed| wanted(deed)).count();
    let refused = count(|deed| matches!(deed, Deed::Refuse(_)));
    let reset = count(|deed| *deed == Deed::ResetStream);
    assert!((4_700..5_300).contains(&refused), "{refused} of 10,000 refused");
    assert!((2_200..2_800).contains(&reset), "{reset} of 10,000 reset");
    let other = Conduct::of(4, &Behaviours { behaviours: vec![half(refuse(14))] }).unwrap();
    assert!((0..100).any(|number| (other.to_request(0, number, 1) == Deed::Take)
        != (deeds[usize::try_from(number).unwrap()] == Deed::Take)));
}

#[test]
fn connections_and_requests_are_treated_apart() {
    let closed = conduct(vec![told(Kind::RefuseConnections(Empty {}))]);
    assert!(!closed.listens(0));
    assert_eq!(closed.to_connection(0, 0), Some(Fate::Close));
    assert_eq!(closed.to_request(0, 0, 1), Deed::Take);
    let reset = Behaviour { per_million: 250_000, ..told(Kind::ResetConnections(Empty {})) };
    let reset = conduct(vec![reset]);
    assert!(reset.listens(0));
    let hit = (0..10_000).filter(|number| reset.to_connection(0, *number) == Some(Fate::Reset)).count();
    assert!((2_300..2_700).contains(&hit), "{hit} of 10,000 reset");
    assert_eq!(conduct(vec![told(refuse(14))]).to_connection(0, 0), None);
}

#[test]
fn pauses_are_as_they_were_told() {
    let pauses = |slow: Slow| {
        let mut pauses: Vec<u128> =
            (0..10_000).map(|number| pause(&slow, hash(9, number)).as_micros()).collect();
        pauses.sort_unstable();
        pauses
    };
    let fixed = pauses(slow(20, 20, 0.0));
    assert_eq!((fixed[0], fixed[9_999]), (20_000, 20_000));
    let even = pauses(slow(10, 19, 0.0));
    assert_eq!((even[0], even[9_999]), (10_000, 19_000), "both ends are reached");
    let exponential = pauses(slow(10, 0, 100.0));
    let mean = exponential.iter().sum::<u128>() / 10_000;
    assert!((105_000..115_000).contains(&mean), "a mean of {mean} µs above 10 ms");
    assert!(exponential[0] >= 10_000 && exponential[9_999] > 500_000);
    assert_eq!(pauses(slow(0, 50, 100.0))[9_999], 50_000, "cut");
    assert_eq!(pause(&slow(u64::MAX, u64::MAX, 0.0), u64::MAX), Duration::from_millis(u64::MAX));
}
