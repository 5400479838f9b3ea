//! Scenarios of every shape: each is written and read back without a change, and fits the schema.

use super::*;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

/// Texts that YAML could take for something else.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -#%-~äé→]{0,16}",
        select(vec![
            "null",
            "true",
            "1e3",
            "0x10",
            "0.160",
            "- a",
            "a: b",
            " # c",
            "{",
            "x\n y\n",
            "~",
            "2026-01-01"
        ])
        .prop_map(str::to_owned),
    ]
    .prop_filter("an empty text is refused", |text| !text.trim().is_empty())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i32>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        text().prop_map(Value::from)
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            btree_map("[a-z.]{1,5}", inner, 0..3).prop_map(|fields| json!(fields)),
        ]
    })
}

fn fields() -> impl Strategy<Value = Value> {
    btree_map("[a-zA-Z.]{1,5}", value(), 1..3).prop_map(|fields| json!(fields))
}

fn span() -> impl Strategy<Value = Span> {
    (1u64..200_000).prop_map(Span::seconds)
}

fn rate() -> impl Strategy<Value = Rate> {
    (1u32..900_000).prop_map(|rate| Rate::per_second(f64::from(rate) / 4.0))
}

fn share() -> impl Strategy<Value = Share> {
    (1u8..=100).prop_map(|percent| Share::percent(percent.into()))
}

/// Names that YAML could take for something else.
fn name() -> impl Strategy<Value = String> {
    let other = select(vec!["null", "true", "1e3", "0x10", "2026-01-01", "-"]).prop_map(str::to_owned);
    prop_oneof!["[A-Za-z0-9-]{1,16}", other]
}

fn backend() -> impl Strategy<Value = Step> {
    let answers = select(vec![
        Answers::Unavailable,
        Answers::ResetStreams,
        Answers::Slow(Slow { min: None, max: None, mean: Some(Span::seconds(1)), take_first: true }),
        Answers::Partial(OneIn { one_in: 7 }),
        Answers::ReceiveLimit("64KiB".parse().unwrap()),
    ]);
    (answers, option::of(share()), option::of(span()), option::of(span())).prop_map(
        |(answers, share, lasts, retry_after)| Step::Backend(Backend { answers, share, lasts, retry_after }),
    )
}

fn step() -> impl Strategy<Value = Step> {
    let nodes = || select(vec![NodeSelector::Worker, NodeSelector::WorkerWithGateway]);
    let node = select(vec![NodeRole::NotYetDrained, NodeRole::Random, NodeRole::This]);
    let pod = select(vec![PodRole::BusiestGateway, PodRole::RandomGateway, PodRole::This]);
    let part = select(vec![Part::Gateways, Part::Agents]);
    let condition = select(vec![Condition::Delivered, Condition::QueuesFill, Condition::ScaledIn]);
    let leaf = prop_oneof![
        nodes().prop_map(Step::drain_each),
        nodes().prop_map(Step::drain_at_once),
        node.prop_map(Step::drain),
        pod.prop_map(Step::evict),
        Just(Step::evict_each(PodSelector::Gateways)),
        (part, text()).prop_map(|(part, to)| Step::upgrade(part, to)),
        (rate(), span()).prop_map(|(rate, hold)| Step::spike(rate, hold)),
        condition.prop_map(Step::wait),
        span().prop_map(Step::hold),
        backend(),
    ];
    leaf.prop_recursive(3, 12, 3, move |inner| {
        let steps = || vec(inner.clone(), 0..3);
        prop_oneof![
            steps().prop_map(Step::sequence),
            steps().prop_map(Step::parallel),
            (1u32..4, steps()).prop_map(|(times, steps)| Step::repeat(times, steps)),
            (nodes(), steps()).prop_map(|(nodes, steps)| Step::for_each_node(nodes, steps)),
            steps().prop_map(|steps| Step::for_each_pod(PodSelector::Gateways, steps)),
        ]
    })
}

fn control() -> impl Strategy<Value = Control> {
    let checks = select(CheckName::ALL);
    let need = (1usize..9, 1usize..9).prop_map(|(first, second)| StepPath::top(first).child(second));
    ((name(), text()), btree_map("[a-z.]{1,9}", value(), 0..2), vec(checks, 1..3), option::of(need)).prop_map(
        |((name, why), set, red, need)| {
            let control = Control { set, ..Control::new(name, why) };
            let control = red.into_iter().fold(control, Control::red).spoiled_by(Spoiler::Restarts);
            need.into_iter().fold(control, |control, before| control.needs(Condition::QueuesFill, before))
        },
    )
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let samples = (option::of(share()), option::of(span()));
    let samples = samples.prop_map(|(share, decision_wait)| Samples { share, decision_wait });
    let measures = vec(select(vec![Measure::Hpa, Measure::Pdb]), 0..2);
    let tier = (text(), 1u16..9, measures, option::of(samples), option::of(fields()));
    let load = (rate(), option::of(share()), any::<bool>(), 0u32..99);
    let allowance = prop_oneof![
        any::<u32>().prop_map(|count| Allowance::Count(count.into())),
        share().prop_map(Allowance::Share)
    ];
    let expect = (option::of(span()), any::<u32>(), option::of(allowance));
    ((name(), text()), tier, load, expect, span(), vec(step(), 0..4), vec(control(), 0..2)).prop_map(
        |((name, about), tier, load, expect, steady, steps, controls)| {
            let (collector, gateways, without, samples, merge) = tier;
            let patches =
                merge.map(|merge| TierPatch::merge("Deployment/gateway", merge)).into_iter().collect();
            let (rate, jitter, gzip, attributes) = load;
            let (delivery_gap, sdk_dropped, duplicated) = expect;
            let load = Load { rate: Some(rate), jitter, gzip, attributes, ..Load::default() };
            let built = Scenario {
                tier: Tier { collector, gateways, without, samples, patches, ..Tier::default() },
                expect: Expect {
                    delivery_gap,
                    sdk_dropped: sdk_dropped.into(),
                    duplicated,
                    ..Expect::default()
                },
                steps,
                controls,
                ..Scenario::new(name)
            };
            built.about(about).steady(steady).offering(load)
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_reads_back_and_fits_the_schema(scenario in scenario()) {
        let text = serde_saphyr::to_string(&scenario).unwrap();
        prop_assert_eq!(&parse(&text).unwrap(), &scenario, "{}", text);
        // A problem with it has a place in its text.
        if let Some(problem) = scenario.problem() {
            let error = Scenario::sensible(Path::new("test.yaml"), &text, &[]).unwrap_err();
            let said = error.to_string();
            prop_assert!(said.starts_with("test.yaml:") && said.contains(&problem.message), "{}: {}", said, problem);
        }
        let validator = SCHEMA.with(|schema| schema.validate(&serde_saphyr::from_str(&text).unwrap()).map_err(|error| error.to_string()));
        prop_assert_eq!(validator, Ok(()), "{}", text);
    }
}

thread_local! {
    static SCHEMA: jsonschema::Validator =
        jsonschema::draft202012::new(&serde_json::from_str(&schema()).unwrap()).unwrap();
}
