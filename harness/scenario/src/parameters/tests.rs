use crate::tests::{refusal, refused};
use crate::{Measure, Rate, Scenario, ScenarioError, Span, Step};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;

const TEXT: &str = "name: x
parameters:
  rate: {about: 'how ${much}', default: 2000/s}
  hold: {default: 1m 30s}
  without: {default: [hpa]}
  sinks: {default: 1}
  says: {default: 'is 5: \"six\" # and more'}
about: It ${says}, at ${rate}. # ${comment}
tier:
  without: ${without}
  sinks: ${sinks}
  patches:
    - of: ConfigMap/agent
      config: {a: '${env:HOME}', b: '$${rate}', c: '${HOME}', d: \"${rate} \\n${says}\", e: 'it''s ${says}'}
load: {rate: ${rate}, spans_per_request: ${sinks}00}
steps:
  - hold: ${hold}
  - sequence: [hold: ${hold}]
";

fn read(text: &str, sets: &[(&str, &str)]) -> Result<Scenario, ScenarioError> {
    let sets: Vec<_> = sets.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Scenario::sensible(Path::new("test.yaml"), text, &sets).map(|(scenario, _)| scenario)
}

#[test]
fn a_value_stands_wherever_it_is_named_and_nowhere_else() {
    let scenario = read(TEXT, &[]).unwrap();
    assert_eq!(scenario.about, "It is 5: \"six\" # and more, at 2000/s.");
    assert_eq!(scenario.load.rate, Some(Rate::per_second(2_000.0)));
    assert_eq!(scenario.load.spans_per_request, 100);
    assert_eq!((scenario.tier.sinks, &scenario.tier.without[..]), (1, &[Measure::Hpa][..]));
    let hold = Step::hold(Span::seconds(90));
    assert_eq!(scenario.steps, [hold.clone(), Step::Sequence(vec![hold])]);
    let says = "is 5: \"six\" # and more";
    let config = json!({
        "a": "${env:HOME}", "b": "$${rate}", "c": "${HOME}", "d": format!("2000/s \n{says}"), "e": format!("it's {says}"),
    });
    assert_eq!(scenario.tier.patches[0].config, config);
    assert_eq!(scenario.parameters["rate"].about, "how ${much}");
}

#[test]
fn what_is_set_takes_the_defaults_place_and_is_on_record() {
    let sets =
        [("rate", "500/s"), ("sinks", "3"), ("without", "[hpa, pdb]"), ("tier.sinks", "4"), ("says", "said")];
    let scenario = read(TEXT, &sets).unwrap();
    assert_eq!(scenario.load.rate, Some(Rate::per_second(500.0)));
    assert_eq!((scenario.tier.sinks, scenario.load.spans_per_request), (4, 300));
    assert_eq!(scenario.tier.without, [Measure::Hpa, Measure::Pdb]);
    assert_eq!(scenario.about, "It said, at 500/s.");
    assert_eq!(scenario.parameters["rate"].default, json!("500/s"));

    let recorded = serde_saphyr::to_string(&scenario).unwrap();
    assert_eq!(read(&recorded, &[]).unwrap(), scenario, "{recorded}");
    let again = refusal(&recorded, &[("rate", "5/s")]);
    assert!(again.starts_with("--set rate=5/s: ") && again.contains("own file"), "{again}");
}

#[test]
fn a_parameter_that_is_nowhere_is_named_with_its_place() {
    refused(
        "name: x\nparameters: {rate: {default: 1/s}}\nload: {rate: §${rat}}\nabout: ${rate}\n",
        &["no parameter `rat`", "did you mean `rate`?"],
    );
    refused(
        "name: x\nload:\n  # ${this} is a comment\n  rate: §${rate}\n",
        &["no parameter `rate`", "there are none"],
    );
    refused("name: x\nabout: >\n  It is\n  at §${rate} or so\n", &["no parameter `rate`"]);
    refused(
        "name: x\nparameters:\n  §rate: {default: 1/s}\nload: {rate: 1/s} # ${rate}\n",
        &["not used", "`${rate}`"],
    );
    refused("name: x\nparameters: {§Rate: {default: 1/s}}\n", &["no parameter's name", "lower-case"]);
    refused(
        "name: x\nparameters: {a: {default: 1/s}, §b: {default: ['${a}']}}\nabout: ${a} ${b}",
        &["cannot be another"],
    );
    refused(
        "name: x\nparameters: {a: {default: 1/s, §defualt: 2}}\nabout: ${a}",
        &["did you mean `default`?"],
    );
    refused(
        "name: x\nparameters: {rate: §5/s}\nload: {rate: \"${rate}\"}\n",
        &["has no fields", "`rate: {default: 5/s}`"],
    );
    refused(
        "name: x\nparameters: {rate: {default: 5/s}}\nload: {rate: \"§${ rate }\"}\n",
        &["a blank", "`${rate}`"],
    );
    refused("name: x\nparameters: {a: {§about: b}}\nabout: ${a}", &["`default` is missing"]);
}

#[test]
fn a_value_that_does_not_fit_is_named_where_it_stands() {
    refused(
        "name: x\nparameters: {all: {default: [1]}}\nload: {attributes: §${all}}\n",
        &["a single value must stand here", "`${all}` stands for [1]"],
    );
    let version =
        read("name: x\nparameters: {v: {default: 0.160}}\ntier: {collector: ${v}}\n", &[("v", "0.170")]);
    assert_eq!(version.unwrap().tier.collector, "0.170", "what looks like a number");

    let text = "name: x\nparameters: {rate: {default: 5/s}, n: {default: 1}}\nload: {attributes: ${n}, rate: §${rate}}\n";
    let said = refusal(text, &[("n", "2"), ("rate", "fast")]);
    assert!(said.starts_with("--set rate=fast: test.yaml:3:"), "{said}");
    assert!(
        said.contains("\"fast\" is not a rate") && said.contains("`${rate}` stands for \"fast\""),
        "{said}"
    );
    let bad = text.replace("5/s", "fast");
    assert!(refusal(&bad, &[]).starts_with("test.yaml:3:"));
    assert!(refusal(&text.replace('§', ""), &[("rate", "{")]).starts_with("--set rate={: "));

    refused(
        "name: x\nparameters: {l: {default: [1]}}\nabout: a §${l}\n",
        &["`${l}` is a list", "a piece of a text"],
    );
    refused("name: x\nparameters: {l: {default: \"a\\nb\"}}\nabout: a §${l}\n", &["several lines"]);
}

/// Something that a text of YAML can be, and what it is.
fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i32>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        "[ -~äé→]{0,12}"
            .prop_filter("nothing is no default", |text| !text.trim().is_empty())
            .prop_map(Value::from),
        prop::collection::vec("[a-z:#{}\\[\\],][a-z:#{}\\[\\], ]{0,4}", 0..3).prop_map(Value::from),
    ]
}

proptest! {
    /// A value of whatever kind arrives as it is, in every style; and what is behind it keeps its place.
    #[test]
    fn values_arrive_and_places_stay(value in scalar(), before in "[a-z ]{0,9}", lines in 0usize..4) {
        let comment = "# ${nothing}\n".repeat(lines);
        let default = &value;
        let text = format!(
            "name: x\nparameters: {{v: {{default: {default}}}}}\n{comment}tier:\n  patches:\n    - of: A/b\n      \
             config: {{whole: ${{v}}, list: [1, ${{v}}, x{before}], ä: 1}} # ${{v}}\n{comment}load:\n  §rat: 1/s\n"
        );
        let said = refusal(&text, &[]);
        prop_assert!(said.contains("`rat`"), "{}", said);
        let good = text.replace("§rat", "rate");
        let config = read(&good, &[]).unwrap().tier.patches[0].config.clone();
        prop_assert_eq!(&config["whole"], &value);
        prop_assert_eq!(&config["list"][1], &value);

        // Within a text, whatever quotes it has.
        if let Value::String(piece) = &value {
            let text = format!(
                "name: x\nparameters: {{v: {{default: {default}}}}}\ntier:\n  patches:\n    - of: A/b\n      config:\n        \
                 plain: a${{v}}b\n        single: 'a${{v}}b'\n        double: \"a${{v}}b\"\n        block: |-\n          a${{v}}b\n"
            );
            let config = read(&text, &[]).unwrap().tier.patches[0].config.clone();
            for style in ["plain", "single", "double", "block"] {
                prop_assert_eq!(&config[style], &json!(format!("a{piece}b")), "{}", style);
            }
        }
    }
}
