//! Latencies, and the gateways of sampled traces.

use super::*;
use spanproof_ledger::Latency;
use std::time::SystemTime;

/// Unix time in nanoseconds.
fn five_seconds_ago() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_nanos()).unwrap() - 5_000_000_000
}

#[tokio::test]
async fn latency_is_measured_from_the_due_time_and_kept_by_second() {
    let served = Served::new().await;
    let mut client = served.client().await;
    let due = five_seconds_ago();
    let late = |seq| Span { start_time_unix_nano: due, ..span(seq) };
    client.export(of_spans((0..100).map(late).collect())).await.unwrap();
    // Spans without a due time have no latency.
    client.export(request(100..150)).await.unwrap();
    // It is written at the end of the second, even if nothing else arrives.
    eventually("it is on disk", async || !read_ledger(served.dir.path()).latency().is_empty()).await;
    client.export(of_spans((150..160).map(late).collect())).await.unwrap();

    let ledger = served.end_and_read().await;
    let mut all = Latency::new();
    for (unix_ms, bytes) in ledger.latency() {
        assert_eq!(unix_ms % 1_000, 0);
        all.add(&Latency::from_bytes(bytes).unwrap());
    }
    assert_eq!(all.count(), 110, "what was not written yet is, before the seal");
    let median = all.quantile_us(0.5);
    assert!((4_900_000..15_000_000).contains(&median), "{median} µs");
}

#[tokio::test]
async fn every_sampled_trace_has_its_gateways() {
    let role = SinkPlan { seed: SEED, trace_one_in: 1, ..SinkPlan::default() };
    let served = Served::with(Plan { role: Some(Role::Sink(role)), ..plan() }).await;
    let mut client = served.client().await;
    // Ten spans a trace: the first trace comes through two gateways, the second through one.
    for (gateway, numbers) in [("a", 0..6), ("b", 4..20)] {
        let mut request = Request::new(request(numbers));
        request.metadata_mut().insert("x-spanproof-gateway", gateway.parse().unwrap());
        client.export(request).await.unwrap();
    }
    let ledger = served.end_and_read().await;
    let seen: Vec<_> = ledger.traces().iter().map(|trace| (trace.spans, &*trace.gateways)).collect();
    assert_eq!(seen, [(12, &[0, 1][..]), (10, &[1][..])]);
    let id = identity().trace_id(SpanIdentity { stream: STREAM, seq: 0 });
    assert_eq!(u128::from(ledger.traces()[0].trace), id & u128::from(u64::MAX));
}
