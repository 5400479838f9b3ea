//! The guard of the gateways, on recorded runs that were altered by hand: the budget, what it demands at each moment, and the
//! nodes that they are on.

use crate::planted::{altered, budgets, is_fault_start, recorded, renumber, says, seen, when, with};
use serde_json::json;
use spanproof_judge::record::{Event, Record};
use spanproof_judge::world::{Budget, Kind, Object, Pod, Workload};
use spanproof_judge::{Judgement, Verdict, judge};

fn gateways(record: &Record, change: impl Fn(f64, &str, &mut Pod)) -> Record {
    altered(record, |t, name, object| {
        if let Object::Pod(pod) = object
            && pod.app == "gateway"
        {
            change(t, name, pod);
        }
    })
}

fn scale(record: &Record, change: impl Fn(f64, &mut Workload)) -> Record {
    altered(record, |t, name, object| {
        if let Object::Deployment(workload) = object
            && name == "gateway"
        {
            change(t, workload);
        }
    })
}

fn drained(record: &Record) -> f64 {
    when(record, is_fault_start)
}

/// A gateway as it was seen last before a moment.
fn gateway_at(record: &Record, t: f64, name: &str) -> Pod {
    let before = record.timeline.iter().take_while(|entry| entry.t < t);
    let seen = before.filter_map(|entry| match &entry.event {
        Event::Seen { name: other, object: Object::Pod(pod) } if other.starts_with(name) => Some(pod.clone()),
        _ => None,
    });
    seen.last().unwrap()
}

const FIRST: &str = "gateway-7c66bd8f58-tdrzk";
const SECOND: &str = "gateway-7c66bd8f58-tnndz";

mod pdb {
    use super::*;

    fn selecting(selector: &serde_json::Value) -> Record {
        budgets(&recorded("two-drains"), |_, budget| {
            budget.selector = serde_json::from_value(selector.clone()).unwrap();
            (budget.expected, budget.healthy, budget.allowed) = (8, 8, 7);
        })
    }

    #[test]
    fn a_budget_that_others_keep_satisfied_is_red_and_they_are_named() {
        let name = "app.kubernetes.io/name";
        for selector in [
            json!({}),
            json!({"matchExpressions": [{"key": name, "operator": "Exists"}]}),
            json!({"matchExpressions": [{"key": name, "operator": "NotIn", "values": ["sink"]}]}),
            json!({"matchExpressions": [{"key": name, "operator": "In", "values": ["gateway", "agent"]}]}),
            json!({"matchExpressions": [{"key": "elsewhere", "operator": "DoesNotExist"}]}),
        ] {
            let check = says(&selecting(&selector), "pdb", Verdict::Fail, "gateway also covers agent-");
            assert!(check.reason.contains("every gateway may go"), "{}", check.reason);
            let also = check.evidence["also_covers"].as_array().unwrap();
            assert!(also.iter().any(|name| name == "agent-7vcpc"), "{also:?}");
        }
        // The reason says how many may go, also where that is one at a time.
        let one = budgets(&selecting(&json!({})), |_, budget| {
            (budget.min_available, budget.max_unavailable) = (None, Some("1".to_owned()));
        });
        says(&one, "pdb", Verdict::Fail, "it grants 1 evictions, and they stand in for gateways");
        // Written another way, it is the same.
        let same = json!({"matchExpressions": [{"key": name, "operator": "In", "values": ["gateway"]}]});
        says(
            &selecting(&same),
            "pdb",
            Verdict::Pass,
            "2 evictions granted, 1 refused; none left fewer than 1",
        );
    }

    #[test]
    fn a_budget_that_covers_some_of_the_gateways_is_red() {
        let record = recorded("two-drains");
        let labelled = gateways(&record, |_, name, pod| {
            if name == FIRST {
                pod.labels.insert("guarded".to_owned(), "yes".to_owned());
            }
        });
        let part = budgets(&labelled, |_, budget| {
            budget.selector = serde_json::from_value(json!({"matchLabels": {"guarded": "yes"}})).unwrap();
        });
        says(&part, "pdb", Verdict::Fail, &format!("gateway does not cover {SECOND}: nothing refuses"));
        // Two, of which each covers one, guard neither.
        let other = json!({"matchExpressions": [{"key": "guarded", "operator": "DoesNotExist"}, {"key": "app.kubernetes.io/name", "operator": "In", "values": ["gateway"]}]});
        let other = Budget {
            selector: serde_json::from_value(other).unwrap(),
            min_available: Some("1".to_owned()),
            expected: 1,
            desired: 1,
            ..Budget::default()
        };
        let two = with(&part, 10.226, [seen("other", Object::PodDisruptionBudget(other))]);
        says(&two, "pdb", Verdict::Fail, "does not cover");
        // A revision that has another label is not covered from when it is there.
        let late = gateways(&recorded("gateway-upgrade"), |_, name, pod| {
            if name.starts_with("gateway-7c66bd8f58") {
                pod.labels.remove("app.kubernetes.io/name");
            }
        });
        says(&late, "pdb", Verdict::Fail, "gateway does not cover gateway-7c66bd8f58-djfwq");
    }

    #[test]
    fn a_budget_that_is_changed_or_gone_for_a_while_is_red_for_that_while() {
        let record = recorded("two-drains");
        let (from, to) = (36.0, 38.0);
        let later = |change: fn(&mut Budget)| {
            budgets(&record, move |t, budget| {
                if t >= from {
                    change(budget);
                }
            })
        };
        says(
            &later(|budget| budget.min_available = Some("0".to_owned())),
            "pdb",
            Verdict::Fail,
            "demands no healthy pod",
        );
        says(&later(|budget| budget.min_available = None), "pdb", Verdict::Fail, "neither minAvailable nor");
        let wide = later(|budget| budget.selector = serde_json::from_value(json!({})).unwrap());
        says(&wide, "pdb", Verdict::Fail, "also covers");
        let budget = record.timeline.iter().rev().find_map(|entry| match &entry.event {
            Event::Seen { object: Object::PodDisruptionBudget(it), .. } if entry.t < from => Some(it.clone()),
            _ => None,
        });
        let (kind, name) = (Kind::PodDisruptionBudget, "gateway".to_owned());
        let gone = with(&record, from, [Event::Gone { kind, name }]);
        let back = with(&gone, to, [seen("gateway", Object::PodDisruptionBudget(budget.unwrap()))]);
        says(&back, "pdb", Verdict::Fail, "there was no PodDisruptionBudget (from 36.0s to 38.0s)");
    }

    /// The second gateway is granted while the first goes, and both are on their way out anyway.
    #[test]
    fn an_eviction_of_what_was_leaving_anyway_took_nothing() {
        let record = recorded("two-drains");
        let t = 32.183;
        let leaving = |name: &str| {
            let pod = gateway_at(&record, t - 1.5, name);
            seen(name, Object::Pod(Pod { ready: false, terminating: true, ..pod }))
        };
        for before in [1.4, 0.2] {
            let all = [leaving(SECOND), leaving("gateway-7c66bd8f58-wgjtk")];
            let gone = with(&record, t - before, all);
            let gone = gateways(&gone, |t, name, pod| {
                if name == SECOND && t > 30.0 {
                    (pod.ready, pod.terminating) = (false, true);
                }
            });
            let check = says(&gone, "pdb", Verdict::Pass, "2 evictions granted");
            let was = if before > 1.0 { "terminating already" } else { "ready" };
            assert_eq!(check.evidence["took"][1]["was"], was, "{:#?}", check.evidence["took"]);
            // That no gateway was ready is another check's matter.
            says(&gone, "availability", Verdict::Fail, "0 ready gateways");
        }
        // One that is not ready is no loss either.
        let unready = Pod { ready: false, ..gateway_at(&record, t, SECOND) };
        let broken = with(&record, t - 1.4, [seen(SECOND, Object::Pod(unready))]);
        let check = says(&broken, "pdb", Verdict::Pass, "2 evictions granted");
        assert_eq!(check.evidence["took"][1]["was"], "not ready");
    }

    #[test]
    fn an_eviction_that_took_the_last_one_is_red_whoever_took_the_others() {
        // The other gateway crashed long before.
        let record = recorded("two-drains");
        let crashed = gateways(&record, |t, name, pod| {
            if name.ends_with("wgjtk") && t < 34.0 {
                pod.ready = false;
            }
        });
        says(
            &crashed,
            "pdb",
            Verdict::Fail,
            &format!("the eviction of {SECOND} was granted and left 0 ready"),
        );
    }
}

mod availability {
    use super::*;

    fn asking(run: &str, least: Option<&str>, most: Option<&str>) -> Record {
        let mut record = budgets(&recorded(run), |_, budget| {
            (budget.min_available, budget.max_unavailable) =
                (least.map(str::to_owned), most.map(str::to_owned));
        });
        record.environment.pdb_minimum = 0;
        let demand = record.environment.pdb.as_mut().unwrap();
        (demand.min_available, demand.max_unavailable) = (least.map(str::to_owned), most.map(str::to_owned));
        record
    }

    #[test]
    fn what_a_budget_demands_is_worked_out_as_its_controller_does() {
        for (least, most, verdict, says_) in [
            (None, Some("1"), Verdict::Pass, "the minimum is 1 (gateway: maxUnavailable 1)"),
            (None, Some("1%"), Verdict::Pass, "the minimum is 1"),
            (None, Some("50%"), Verdict::Pass, "the minimum is 1"),
            (Some("50%"), None, Verdict::Pass, "the minimum is 1 (gateway: minAvailable 50%)"),
            (None, Some("0"), Verdict::Fail, "1 ready gateways at"),
            (Some("51%"), None, Verdict::Fail, "the minimum is 2"),
            (Some("100%"), None, Verdict::Fail, "the minimum is 2"),
            (None, Some("100%"), Verdict::Pass, "which demands no gateway; judged is whether one was ready"),
            (Some("0"), None, Verdict::Pass, "which demands no gateway"),
        ] {
            says(&asking("two-drains", least, most), "availability", verdict, says_);
        }
    }

    #[test]
    fn with_the_budget_left_out_its_manifest_is_judged_by_and_without_one_that_a_gateway_was_ready() {
        let without = |record: &Record| {
            let mut record = record.clone();
            let is =
                |event: &Event| matches!(event, Event::Seen { object: Object::PodDisruptionBudget(_), .. });
            record.timeline.retain(|entry| !is(&entry.event));
            renumber(&mut record);
            record
        };
        let strict = without(&asking("two-drains", None, Some("0")));
        says(
            &strict,
            "availability",
            Verdict::Fail,
            "the minimum is 2 (the PDB's manifest: maxUnavailable 0)",
        );
        let mut none = without(&recorded("two-drains"));
        (none.environment.pdb, none.environment.pdb_minimum) = (None, 0);
        says(
            &none,
            "availability",
            Verdict::Pass,
            "the tier has no PDB; judged is whether one gateway was ready",
        );
        let down = gateways(&none, |t, _, pod| {
            if t > drained(&recorded("two-drains")) {
                pod.ready = false;
            }
        });
        says(&down, "availability", Verdict::Fail, "0 ready gateways");
    }

    /// The HPA asks for a third gateway: that it is not there yet is no disruption.
    #[test]
    fn a_gateway_that_is_only_asked_for_was_not_taken_away() {
        for most in ["0", "1"] {
            says(&asking("load-spike", None, Some(most)), "availability", Verdict::Pass, "never fewer than");
        }
        // Once it was there, it counts.
        let record = asking("load-spike", None, Some("0"));
        let lost = gateways(&record, |t, name, pod| {
            if name.ends_with("ft2dm") && t > 277.0 {
                pod.ready = false;
            }
        });
        let pod = Pod { ready: false, ..gateway_at(&record, 100.0, "gateway-5f6d54b444-ft2dm") };
        let lost = with(&lost, 100.0, [seen("gateway-5f6d54b444-ft2dm", Object::Pod(pod))]);
        says(&lost, "availability", Verdict::Fail, "2 ready gateways at 100.0s");
    }

    #[test]
    fn a_share_of_what_is_not_known_says_nothing() {
        let mut record = asking("two-drains", Some("50%"), None);
        let is = |event: &Event| matches!(event, Event::Seen { object: Object::Deployment(_), .. });
        record.timeline.retain(|entry| !is(&entry.event));
        renumber(&mut record);
        says(
            &record,
            "availability",
            Verdict::Inconclusive,
            "how many gateways there should be is not known",
        );
    }

    #[test]
    fn a_node_that_took_two_gateways_with_it_is_named() {
        let mut record = gateways(&recorded("two-drains"), |_, _, pod| {
            if pod.node == "dev-worker2" {
                "dev-worker".clone_into(&mut pod.node);
            }
        });
        let second = gateway_at(&record, 26.0, SECOND);
        record = with(
            &record,
            26.7,
            [seen(SECOND, Object::Pod(Pod { ready: false, terminating: true, ..second }))],
        );
        let check = says(
            &record,
            "availability",
            Verdict::Fail,
            "were on the same node, dev-worker, which was drained",
        );
        assert_eq!(check.evidence["shared_nodes"][0]["gateways"], json!([FIRST, SECOND]));
        says(&record, "spread", Verdict::Fail, "though dev-worker2 could take it");
    }
}

mod rollout {
    use super::*;

    #[test]
    fn a_roll_out_is_held_against_the_same_floor() {
        let mut record = budgets(&recorded("gateway-upgrade"), |_, budget| {
            (budget.min_available, budget.max_unavailable) = (None, Some("0".to_owned()));
        });
        says(&record, "rollout", Verdict::Pass, "never fewer than 2 ready");
        record = gateways(&record, |t, name, pod| {
            if name.ends_with("bv6wv") && t < 30.0 {
                pod.ready = false;
            }
        });
        says(&record, "rollout", Verdict::Fail, "1 ready at 40.2s, the floor is 2");
    }

    /// The kubelet evicted them for want of memory: they are there, and are no gateways any more.
    #[test]
    fn pods_that_have_finished_are_not_counted() {
        for run in ["gateway-upgrade", "two-drains", "load-spike"] {
            let record = recorded(run);
            let mut finished = record.clone();
            for (number, phase) in ["Failed", "Succeeded", "Failed", "Failed"].into_iter().enumerate() {
                let pod = gateway_at(&record, drained(&record), "gateway-");
                let left =
                    Pod { ready: false, phase: phase.to_owned(), uid: format!("left-{number}"), ..pod };
                finished =
                    with(&finished, 15.0, [seen(&format!("gateway-left-{number}"), Object::Pod(left))]);
            }
            let (before, after) = (judge(&record), judge(&finished));
            let verdicts = |judgement: &Judgement| {
                judgement.checks.iter().map(|it| (it.name, it.verdict)).collect::<Vec<_>>()
            };
            assert_eq!(verdicts(&before), verdicts(&after), "{run}");
            for name in ["rollout", "pdb", "spread"] {
                let of = |judgement: &Judgement| {
                    judgement.checks.iter().find(|it| it.name.as_str() == name).map(|it| it.reason.clone())
                };
                assert_eq!(of(&before), of(&after), "{run}");
            }
        }
    }

    #[test]
    fn absurd_numbers_are_no_panic() {
        for number in ["4294967295", "2147483647", "99999999999%", "1e400%", "-1", "%", ""] {
            let written = || Some(number.to_owned());
            for run in ["gateway-upgrade", "two-drains", "load-spike"] {
                let record = scale(&recorded(run), |_, workload| {
                    (workload.max_surge, workload.max_unavailable) = (written(), written());
                    (workload.desired, workload.total) = (u32::MAX, u32::MAX);
                });
                let record = budgets(&record, |_, budget| {
                    (budget.min_available, budget.max_unavailable) = (None, written());
                    (budget.desired, budget.expected, budget.allowed) = (u32::MAX, u32::MAX, u32::MAX);
                });
                let record = altered(&record, |_, _, object| match object {
                    Object::HorizontalPodAutoscaler(hpa) => {
                        (hpa.desired, hpa.max, hpa.min) = (u32::MAX, u32::MAX, u32::MAX);
                        (hpa.current, hpa.stabilisation_s) = (u32::MAX, u32::MAX);
                    }
                    Object::Pod(pod) => {
                        pod.restarts = u32::MAX;
                        for one in pod.placement.iter_mut().flat_map(|it| &mut it.spread) {
                            (one.max_skew, one.min_domains) = (i32::MIN, Some(i32::MAX));
                        }
                    }
                    _ => {}
                });
                let _ = judge(&record);
            }
        }
    }
}

mod spread {
    use super::*;

    fn on(record: &Record, node: &str, wanted: impl Fn(f64, &str) -> bool) -> Record {
        gateways(record, |t, name, pod| {
            if wanted(t, name) && !pod.node.is_empty() {
                node.clone_into(&mut pod.node);
            }
        })
    }

    #[test]
    fn gateways_that_share_a_node_though_another_was_there_are_red() {
        let record = recorded("two-drains");
        says(&record, "spread", Verdict::Pass, "4 gateways were placed");
        let packed = on(&record, "dev-worker", |_, name| name == SECOND);
        let check = says(&packed, "spread", Verdict::Fail, "before the load");
        assert!(check.reason.contains("maxSkew is 1 over kubernetes.io/hostname"), "{}", check.reason);
        // Of a roll-out's revision, and where no constraint is written.
        let record = recorded("gateway-upgrade");
        says(&record, "spread", Verdict::Pass, "gateways were placed");
        let packed = on(&record, "dev-worker", |_, name| name.ends_with("bv6wv"));
        says(
            &packed,
            "spread",
            Verdict::Fail,
            "gateway-7c66bd8f58-bv6wv was put on dev-worker beside gateway-7c66bd8f58-djfwq",
        );
        let free =
            |record: &Record| gateways(record, |_, _, pod| pod.placement.as_mut().unwrap().spread.clear());
        says(&free(&record), "spread", Verdict::Pass, "gateways were placed");
        says(
            &free(&packed),
            "spread",
            Verdict::Fail,
            "no constraint spreads them over kubernetes.io/hostname",
        );
        // A constraint that allows both on one node is none against that.
        let loose = gateways(&packed, |_, _, pod| {
            for one in &mut pod.placement.as_mut().unwrap().spread {
                one.max_skew = 5;
            }
        });
        says(&loose, "spread", Verdict::Fail, "all gateways are on dev-worker");
    }

    #[test]
    fn a_node_that_could_not_take_one_is_held_against_nobody() {
        let record = recorded("gateway-upgrade");
        let packed = on(&record, "dev-worker", |_, name| name.ends_with("bv6wv"));
        let others = |change: fn(&mut spanproof_judge::world::Node)| {
            altered(&packed, move |_, name, object| {
                if let Object::Node(node) = object
                    && name != "dev-worker"
                {
                    change(node);
                }
            })
        };
        for change in [
            (|node| node.unschedulable = true) as fn(&mut spanproof_judge::world::Node),
            |node| node.ready = false,
            |node| {
                let taint = json!({"key": "team", "value": "db", "effect": "NoSchedule"});
                node.taints = Some(vec![serde_json::from_value(taint).unwrap()]);
            },
        ] {
            let record = on(&others(change), "dev-worker", |_, _| true);
            says(&record, "spread", Verdict::Pass, "share dev-worker");
        }
        // A taint that is tolerated keeps nobody away.
        let tolerated = gateways(
            &others(|node| {
                let taint = json!({"key": "team", "value": "db", "effect": "NoSchedule"});
                node.taints = Some(vec![serde_json::from_value(taint).unwrap()]);
            }),
            |_, _, pod| {
                let toleration = json!({"key": "team", "operator": "Exists"});
                pod.placement.as_mut().unwrap().tolerations.push(serde_json::from_value(toleration).unwrap());
            },
        );
        says(&tolerated, "spread", Verdict::Fail, "gateway-7c66bd8f58-bv6wv was put on dev-worker");
    }

    /// After an uncordon nothing is moved back: that is said, and is nobody's failure.
    #[test]
    fn gateways_that_were_alone_to_be_had_share_a_node_to_the_end() {
        let check = says(&recorded("two-drains"), "spread", Verdict::Pass, "share dev-worker3");
        assert!(check.reason.contains("Kubernetes moves none back"), "{}", check.reason);
        // Had the node been open by then, it would have been red.
        let open = altered(&recorded("two-drains"), |_, _, object| {
            if let Object::Node(node) = object {
                node.unschedulable = false;
                node.taints
                    .iter_mut()
                    .for_each(|all| all.retain(|one| one.key != "node.kubernetes.io/unschedulable"));
            }
        });
        says(&open, "spread", Verdict::Fail, "gateway-7c66bd8f58-ftrp2 was put on dev-worker3");
    }

    #[test]
    fn a_node_selector_that_leaves_one_node_spreads_nothing() {
        let pinned = gateways(&recorded("gateway-upgrade"), |_, _, pod| {
            if !pod.node.is_empty() {
                "dev-worker".clone_into(&mut pod.node);
            }
            let selector = ("kubernetes.io/hostname".to_owned(), "dev-worker".to_owned());
            pod.placement.as_mut().unwrap().node_selector = [selector].into();
        });
        says(&pinned, "spread", Verdict::Fail, "their node selector leaves them no other node");
    }

    #[test]
    fn what_the_record_does_not_tell_is_not_passed() {
        let record = recorded("two-drains");
        let old = gateways(&record, |_, _, pod| pod.placement = None);
        says(&old, "spread", Verdict::Inconclusive, "is not on record");
        let old = altered(&record, |_, _, object| {
            if let Object::Node(node) = object {
                (node.labels, node.taints) = (None, None);
            }
        });
        says(&old, "spread", Verdict::Inconclusive, "is not on record");
        let mut blind = record;
        blind.timeline.retain(|entry| !matches!(entry.event, Event::Seen { object: Object::Node(_), .. }));
        renumber(&mut blind);
        says(&blind, "spread", Verdict::Inconclusive, "no node was seen");
    }
}
