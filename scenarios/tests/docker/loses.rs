//! The controls: every known configuration of a tier that loses spans, and that the loss is seen. Where a control
//! shows nothing as long as the backend is fast, that is shown, too.

use crate::config::Part;
use crate::keeps::{KILLED_IN_TURN, kill_gateways_in_turn};
use crate::tier::{GATEWAYS, Setup, Tier, UNAVAILABLE, VERSION};
use rstest::rstest;
use serde_json::{Value, json};
use spanproof_probe::control::{Empty, Slow, behaviour::Kind};

const fn slow(milliseconds: u64) -> Kind {
    Kind::Slow(Slow { min_ms: milliseconds, max_ms: milliseconds, mean_ms: 0.0, take_first: false })
}

fn exporter(changes: &Value) -> Value {
    json!({"exporters": {"otlp_grpc": changes}})
}

/// Gateways with the exporter's defaults: a queue in memory, acknowledged before it is exported.
fn gateways_with_a_queue() -> Setup {
    Setup { gateway: exporter(&json!({"sending_queue": null, "retry_on_failure": null})), ..Setup::default() }
}

/// Gateways with the `batch` processor, which acknowledges before it exports.
fn gateways_with_batch() -> Setup {
    let pipelines = json!({"traces": {"processors": ["memory_limiter", "batch"]}});
    Setup {
        gateway: json!({"processors": {"batch": {}}, "service": {"pipelines": pipelines}}),
        ..Setup::default()
    }
}

#[tokio::test]
async fn a_gateways_memory_is_lost_with_it() {
    let tier = Tier::start(gateways_with_a_queue()).await;
    tier.backend(slow(500)).await;
    kill_gateways_in_turn(&tier).await;
    let outcome = tier.finish().await;
    outcome.spans_vanish(KILLED_IN_TURN);
}

/// With a fast backend a gateway's memory is empty except just after a request: killed between two requests it
/// loses nothing, and such a control shows nothing. (With requests at their usual rate it is chance: with the batch
/// processor two of three kills found a batch, 850 spans.)
#[rstest]
#[case::a_queue(gateways_with_a_queue())]
#[case::the_batch_processor(gateways_with_batch())]
#[ignore = "nightly"]
#[tokio::test]
async fn a_gateways_memory_is_empty_between_two_requests(#[case] gateways: Setup) {
    // A request every two seconds: longer than it takes to see one arrive and to kill.
    let batch = json!({"min_size": 4_000, "max_size": 4_000, "flush_timeout": "10s"});
    let agent = exporter(&json!({"sending_queue": {"batch": batch}}));
    let tier = Tier::start(Setup { agent, ..gateways }).await;
    for turn in 0..3 {
        tier.acknowledges(8_000).await;
        tier.delivers(1).await;
        tier.kill(GATEWAYS[turn % 2]);
        tier.start_again(GATEWAYS[turn % 2]).await;
    }
    tier.acknowledges(8_000).await;
    tier.finish().await.nothing_is_lost(KILLED_IN_TURN);
}

/// The batch processor has acknowledged what the exporter after it, without a queue, cannot deliver.
#[tokio::test]
#[ignore = "nightly"]
async fn a_gateways_batch_is_dropped_in_an_outage() {
    loses_an_outage(gateways_with_batch()).await;
}

/// Spans that are sent while the backend is unavailable are lost, even in only five seconds.
async fn loses_an_outage(setup: Setup) {
    let tier = Tier::start(setup).await;
    tier.delivers(5_000).await;
    tier.backend(UNAVAILABLE).await;
    tier.acknowledges(10_000).await;
    tier.backend_heals().await;
    tier.delivers(5_000).await;
    tier.finish().await.spans_are_refused(15_000, 14);
}

#[tokio::test]
#[ignore = "nightly"]
async fn an_agent_that_gives_up_loses_an_outages_oldest() {
    let agent = exporter(&json!({"retry_on_failure": {"max_elapsed_time": "5s"}}));
    let tier = Tier::start(Setup { agent, ..Setup::default() }).await;
    tier.delivers(5_000).await;
    tier.backend(UNAVAILABLE).await;
    tier.acknowledges(40_000).await;
    tier.backend_heals().await;
    tier.finish().await.spans_are_refused(45_000, 14);
}

/// An agent that does not retry.
fn without_retry() -> Setup {
    Setup { agent: exporter(&json!({"retry_on_failure": {"enabled": false}})), ..Setup::default() }
}

/// With a backend that refuses they are lost at once, with or without a restart.
#[tokio::test]
#[ignore = "nightly"]
async fn an_agent_without_retry_loses_an_outage() {
    loses_an_outage(without_retry()).await;
}

/// Without retries, an agent that stops deletes the requests in flight from its queue on disk
/// (opentelemetry-collector issue 15677). To see that, the backend must hang: then everything lost was in flight at
/// the end.
#[tokio::test]
#[ignore = "nightly"]
async fn an_agent_without_retry_deletes_what_is_on_its_way_when_it_ends() {
    let tier = Tier::start(without_retry()).await;
    tier.delivers(5_000).await;
    tier.backend(Kind::Hang(Empty {})).await;
    // Less than the gateways' timeout of 5 s, by which they would refuse it.
    tier.backlog(4_000).await;
    tier.terminate("agent");
    tier.backend_heals().await;
    tier.start_again("agent").await;
    tier.delivers(5_000).await;
    tier.finish().await.spans_are_refused(9_000, spanproof_ledger::UNANSWERED);
}

/// The same with retries: the requests in flight stay in the queue.
#[tokio::test]
#[ignore = "nightly"]
async fn an_agent_with_retry_keeps_what_is_on_its_way_when_it_ends() {
    let tier = Tier::start(Setup::default()).await;
    tier.delivers(5_000).await;
    tier.backend(Kind::Hang(Empty {})).await;
    tier.backlog(4_000).await;
    tier.terminate("agent");
    tier.backend_heals().await;
    tier.start_again("agent").await;
    tier.delivers(5_000).await;
    tier.finish().await.nothing_is_lost(10_000);
}

/// The file of the queue is named after the exporter: the backlog stays in the old file.
#[tokio::test]
#[ignore = "nightly"]
async fn a_renamed_exporter_leaves_its_backlog_behind() {
    let renamed = &Part::Agent.configuration()["exporters"]["otlp_grpc"];
    let agent = json!({
        "exporters": {"otlp_grpc": null, "otlp": renamed},
        "service": {"pipelines": {"traces": {"exporters": ["otlp"]}}},
    });
    let mut tier = Tier::start(Setup { agent, ..Setup::default() }).await;
    tier.delivers(5_000).await;
    tier.backend(UNAVAILABLE).await;
    tier.backlog(10_000).await;
    tier.replace_agent(VERSION, json!({})).await;
    tier.acknowledges(5_000).await;
    tier.backend_heals().await;
    tier.delivers(5_000).await;
    tier.finish().await.loses_at_least(9_000);
}

#[tokio::test]
async fn an_agents_memory_is_lost_with_it() {
    let queue = json!({"storage": null});
    let tier =
        Tier::start(Setup { agent: exporter(&json!({"sending_queue": queue})), ..Setup::default() }).await;
    tier.delivers(5_000).await;
    tier.backend(UNAVAILABLE).await;
    tier.backlog(10_000).await;
    tier.kill("agent");
    tier.start_again("agent").await;
    tier.acknowledges(5_000).await;
    tier.backend_heals().await;
    tier.finish().await.loses_at_least(9_000);
}
