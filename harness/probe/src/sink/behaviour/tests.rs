use super::*;
use crate::control::{Empty, Forget, Partial};

fn behaviour(kind: Kind) -> Behaviour {
    Behaviour { kind: Some(kind), ..Behaviour::default() }
}

fn rules(behaviours: Vec<Behaviour>) -> BehaviourRules {
    BehaviourRules::of(3, &Behaviours { behaviours }).unwrap()
}

fn refuse(code: u32) -> Kind {
    Kind::Refuse(Refuse { code, retry_after_ms: None })
}

fn slow(min_ms: u64, max_ms: u64, mean_ms: f64) -> Slow {
    Slow { min_ms, max_ms, mean_ms, take_first: false }
}

#[test]
fn invalid_behaviours_are_refused_with_their_index() {
    let share = |per_million, kind| Behaviour { per_million, ..behaviour(kind) };
    let invalid_behaviours = [
        Behaviour::default(),
        behaviour(refuse(0)),
        behaviour(refuse(17)),
        behaviour(Kind::Partial(Partial { one_in: 0 })),
        behaviour(Kind::Forget(Forget { one_in: 0 })),
        behaviour(Kind::ReceiveLimit(0)),
        behaviour(Kind::Slow(slow(5, 4, 0.0))),
        behaviour(Kind::Slow(slow(5, 4, 1.0))),
        behaviour(Kind::Slow(slow(0, 0, 0.0))),
        behaviour(Kind::Slow(slow(0, 0, f64::NAN))),
        behaviour(Kind::Slow(slow(0, 9, -1.0))),
        share(1, Kind::RefuseConnections(Empty {})),
        share(1_000_001, refuse(14)),
    ];
    for invalid in invalid_behaviours {
        let behaviours = Behaviours { behaviours: vec![behaviour(refuse(14)), invalid] };
        let problem = BehaviourRules::of(0, &behaviours).unwrap_err();
        assert!(problem.starts_with("behaviour 1: "), "{invalid:?}: {problem}");
    }
}

#[test]
fn the_first_rule_that_selects_applies_and_a_window_ends_by_itself() {
    let window = Behaviour { window_ms: 500, since_unix_ms: 1_000, ..behaviour(Kind::Hang(Empty {})) };
    let rules = rules(vec![behaviour(Kind::ReceiveLimit(100)), window, behaviour(refuse(8))]);
    assert_eq!(rules.request_action(1_499, 0, 101), RequestAction::TooLarge(100));
    assert_eq!(rules.request_action(1_499, 0, 100), RequestAction::Hang { until_unix_ms: 1_500 });
    assert_eq!(
        rules.request_action(1_500, 0, 100),
        RequestAction::Refuse(Refuse { code: 8, retry_after_ms: None })
    );
    assert_eq!((rules.next_change_unix_ms(1_499), rules.next_change_unix_ms(1_500)), (1_500, u64::MAX));
    assert_eq!(BehaviourRules::default().request_action(0, 0, 0), RequestAction::Take);
}

#[test]
fn a_share_is_the_same_for_the_same_seed_and_two_shares_are_independent() {
    let half = |kind| Behaviour { per_million: 500_000, ..behaviour(kind) };
    let rules = rules(vec![half(refuse(14)), half(Kind::ResetStreams(Empty {}))]);
    let action: Vec<RequestAction> = (0..10_000).map(|number| rules.request_action(0, number, 1)).collect();
    let again: Vec<RequestAction> = (0..10_000).map(|number| rules.request_action(0, number, 1)).collect();
    assert_eq!(action, again);
    let count = |wanted: fn(&RequestAction) -> bool| action.iter().filter(|action| wanted(action)).count();
    let refused = count(|action| matches!(action, RequestAction::Refuse(_)));
    let reset = count(|action| *action == RequestAction::ResetStream);
    assert!((4_700..5_300).contains(&refused), "{refused} of 10,000 refused");
    assert!((2_200..2_800).contains(&reset), "{reset} of 10,000 reset");
    let other = BehaviourRules::of(4, &Behaviours { behaviours: vec![half(refuse(14))] }).unwrap();
    assert!((0..100).any(|number| (other.request_action(0, number, 1) == RequestAction::Take)
        != (action[usize::try_from(number).unwrap()] == RequestAction::Take)));
}

#[test]
fn rules_for_connections_do_not_apply_to_requests() {
    let closed = rules(vec![behaviour(Kind::RefuseConnections(Empty {}))]);
    assert!(!closed.listens(0));
    assert_eq!(closed.connection_action(0, 0), Some(ConnectionAction::Close));
    assert_eq!(closed.request_action(0, 0, 1), RequestAction::Take);
    let reset = Behaviour { per_million: 250_000, ..behaviour(Kind::ResetConnections(Empty {})) };
    let reset = rules(vec![reset]);
    assert!(reset.listens(0));
    let hit = (0..10_000)
        .filter(|number| reset.connection_action(0, *number) == Some(ConnectionAction::Reset))
        .count();
    assert!((2_300..2_700).contains(&hit), "{hit} of 10,000 reset");
    assert_eq!(rules(vec![behaviour(refuse(14))]).connection_action(0, 0), None);
}

#[test]
fn pauses_have_the_given_distribution() {
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
