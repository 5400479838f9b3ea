//! Reads the Collectors' own metrics once a second, from inside the cluster, so that an API server that is down does
//! not interrupt it. The processes are looked up by DNS name each time.

use crate::control::{self, ProbeError};
use crate::ledger_file::LedgerFile;
use futures::future::join_all;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use spanproof_ledger::{Metrics, MetricsRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;
use tracing::{error, info};

/// The timeout of a Collector's answer. Shorter than the interval.
const TIMEOUT: Duration = Duration::from_millis(900);
/// The largest answer that is read.
const MAX_ANSWER_BYTES: usize = 8 << 20;
/// The metrics that the status contains.
const QUEUE_SIZE: &str = "otelcol_exporter_queue_size";
const IN_FLIGHT: &str = "otelcol_exporter_in_flight_requests";

/// Reads metrics and logs their changes.
#[derive(Debug)]
pub(super) struct Scraper(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    file: LedgerFile<MetricsRecord>,
    /// The number of records in the file.
    records: u64,
    names: Vec<String>,
    targets: BTreeMap<(String, SocketAddr), TargetState>,
    /// The ID of each process that ever answered, by its role and address.
    numbers: BTreeMap<(String, String), u16>,
    closed: bool,
}

/// The last answer of a process.
#[derive(Debug)]
struct TargetState {
    id: u16,
    values: Vec<Option<f64>>,
    in_flight: Option<f64>,
    answered_unix_ms: u64,
    silent: bool,
}

impl Scraper {
    /// Opens or creates the log, and begins to read metrics.
    pub(super) fn open(
        path: &Path,
        run_tag: u64,
        whom: &[control::Scrape],
        names: &[String],
    ) -> Result<Arc<Self>, ProbeError> {
        let mut before = Metrics::default();
        let file = LedgerFile::open_with(path, |record| {
            before
                .apply(&record)
                .map_err(|source| ProbeError::Contradiction { path: path.to_owned(), source })
        })?;
        let mut inner = Inner {
            file,
            records: before.records(),
            names: names.to_vec(),
            targets: BTreeMap::new(),
            numbers: before
                .targets()
                .map(|(id, target)| ((target.role.clone(), target.address.clone()), id))
                .collect(),
            closed: false,
        };
        inner.write(&MetricsRecord::Opened { unix_ms: crate::unix_ms() });
        inner.write(&MetricsRecord::Of { run_tag });
        for (id, name) in (0..).zip(names) {
            inner.write(&MetricsRecord::Metric { id, name: name.clone() });
        }
        let scraper = Arc::new(Self(Mutex::new(inner)));
        tokio::spawn(run(Arc::clone(&scraper), whom.to_vec(), names.to_vec()));
        Ok(scraper)
    }

    /// Seals the log: nothing is written afterwards.
    pub(super) fn seal(&self) {
        let mut inner = self.0.lock();
        if !inner.closed {
            let records = inner.records;
            inner.write(&MetricsRecord::Sealed { records });
            inner.closed = true;
        }
    }

    /// The processes that answered the last time.
    pub(super) fn targets(&self) -> Vec<control::Target> {
        let inner = self.0.lock();
        let queue = inner.names.iter().position(|name| name == QUEUE_SIZE);
        let answering = inner.targets.iter().filter(|(_, known)| !known.silent);
        let targets = answering.map(|((role, address), known)| control::Target {
            role: role.clone(),
            address: address.ip().to_string(),
            answered_unix_ms: known.answered_unix_ms,
            queue_size: queue.and_then(|index| known.values[index]).unwrap_or(-1.0),
            in_flight: known.in_flight,
        });
        targets.collect()
    }
}

impl Inner {
    fn write(&mut self, record: &MetricsRecord) {
        if self.closed {
            return;
        }
        if let Err(problem) = self.file.append(record, false) {
            // Never sealed, because records are missing: the judge concludes nothing from a log without a seal.
            error!(%problem, "the metrics cannot be written");
            self.closed = true;
        }
        self.records += 1;
    }

    /// Records the answer of a process: the values that changed.
    fn record_answer(
        &mut self,
        role: &str,
        address: SocketAddr,
        values: Vec<Option<f64>>,
        in_flight: Option<f64>,
    ) {
        let unix_ms = crate::unix_ms();
        let key = (role.to_owned(), address);
        if !self.targets.contains_key(&key) {
            let (role, address) = (role.to_owned(), address.ip().to_string());
            let next = u16::try_from(self.numbers.len()).unwrap_or(u16::MAX);
            let id = *self.numbers.entry((role.clone(), address.clone())).or_insert(next);
            self.write(&MetricsRecord::Target { id, role, address });
            let none = vec![None; self.names.len()];
            let known =
                TargetState { id, values: none, in_flight: None, answered_unix_ms: unix_ms, silent: false };
            self.targets.insert(key.clone(), known);
        }
        let Some(known) = self.targets.get_mut(&key) else { return };
        let changed = (0..).zip(known.values.iter().zip(&values));
        let changed = changed.filter_map(|(id, (before, now))| Some((id, now.filter(|_| before != now)?)));
        let record = MetricsRecord::Scraped { unix_ms, target: known.id, values: changed.collect() };
        (known.values, known.answered_unix_ms, known.silent) = (values, unix_ms, false);
        known.in_flight = in_flight;
        self.write(&record);
    }

    /// Records the processes that answered before, but not this time.
    fn record_silence(&mut self, answered: &BTreeSet<(String, SocketAddr)>) {
        let unix_ms = crate::unix_ms();
        let missed = self.targets.iter_mut().filter(|(key, known)| !known.silent && !answered.contains(key));
        let missed: Vec<u16> = missed
            .map(|(_, known)| {
                known.silent = true;
                known.id
            })
            .collect();
        for target in missed {
            self.write(&MetricsRecord::Silent { unix_ms, target });
        }
    }
}

async fn run(scraper: Arc<Scraper>, whom: Vec<control::Scrape>, names: Vec<String>) {
    info!(whom = whom.len(), "reading metrics");
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !scraper.0.lock().closed {
        seconds.tick().await;
        let asked = join_all(whom.iter().map(|scrape| scrape_all(scrape, &names))).await;
        let mut inner = scraper.0.lock();
        let mut answered = BTreeSet::new();
        for (role, address, values, in_flight) in asked.into_iter().flatten() {
            inner.record_answer(&role, address, values, in_flight);
            answered.insert((role, address));
        }
        inner.record_silence(&answered);
    }
}

type ScrapeResult = (String, SocketAddr, Vec<Option<f64>>, Option<f64>);

/// Reads the metrics of every process of a DNS name.
async fn scrape_all(whom: &control::Scrape, names: &[String]) -> Vec<ScrapeResult> {
    let port = u16::try_from(whom.port).unwrap_or_default();
    let found = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((whom.host.as_str(), port))).await;
    // A name without an address has no pods.
    let addresses: BTreeSet<SocketAddr> = found.into_iter().flatten().flatten().collect();
    let asked = addresses.into_iter().map(|address| async move {
        let text = tokio::time::timeout(TIMEOUT, scrape_one(address)).await.ok()?.ok()?;
        let values = names.iter().map(|name| total(&text, name)).collect();
        Some((whom.role.clone(), address, values, unqueued(&text)))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

async fn scrape_one(address: SocketAddr) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let connection = tokio::spawn(connection);
    let request = hyper::Request::get("/metrics")
        .header(hyper::header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())?;
    let body = Limited::new(sender.send_request(request).await?.into_body(), MAX_ANSWER_BYTES);
    let bytes = body.collect().await?.to_bytes();
    connection.abort();
    Ok(String::from_utf8(bytes.to_vec())?)
}

/// The sum of a metric over its label sets, in Prometheus' text format, under its name or the name with `_total`; none
/// if it is missing. Series of logs or metrics are left out. `name{label="value"}` is the sum over the series with
/// that label.
pub fn total(text: &str, name: &str) -> Option<f64> {
    let (name, wanted) = name.split_once('{').unwrap_or((name, ""));
    let wanted = wanted.strip_suffix("\"}").and_then(|wanted| wanted.split_once("=\""));
    let asked = |labels: &str| wanted.is_none_or(|(key, value)| label(labels, key) == Some(value));
    let traces = |labels: &str| label(labels, "data_type").is_none_or(|of| of == "traces");
    series(text, name)
        .filter(|(labels, _)| traces(labels) && asked(labels))
        .map(|(_, value)| value)
        .reduce(|a, b| a + b)
}

/// The requests in flight of exporters without a queue; a queue's size includes its requests in flight.
fn unqueued(text: &str) -> Option<f64> {
    let queued: BTreeSet<&str> =
        series(text, QUEUE_SIZE).filter_map(|(labels, _)| label(labels, "exporter")).collect();
    let without = |labels: &str| label(labels, "exporter").is_none_or(|exporter| !queued.contains(exporter));
    let traces = |labels: &str| label(labels, "data_type").is_none_or(|of| of == "traces");
    let found = series(text, IN_FLIGHT).filter(|(labels, _)| without(labels) && traces(labels));
    found.map(|(_, value)| value).reduce(|a, b| a + b)
}

/// The label sets of a metric, with their values.
fn series<'a>(text: &'a str, name: &str) -> impl Iterator<Item = (&'a str, f64)> {
    text.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let rest = rest.strip_prefix("_total").unwrap_or(rest);
        let (labels, value) = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once('}')?,
            None => ("", rest.strip_prefix(' ')?),
        };
        Some((labels, value.split_whitespace().next()?.parse::<f64>().ok()?))
    })
}

/// The value of a label, with its escapes.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = labels;
    loop {
        let (key, value) = rest.trim_start_matches([',', ' ']).split_once("=\"")?;
        // Quotes and backslashes within a value are escaped with a backslash.
        let mut escaped = false;
        let end = value.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        if key == name {
            return Some(&value[..end]);
        }
        rest = &value[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE otelcol_exporter_queue_size gauge\n\
        otelcol_exporter_queue_size{data_type=\"traces\",exporter=\"otlp_grpc\"} 12\n\
        otelcol_exporter_queue_size{exporter=\"x\",data_type=\"traces\"} 3 1700000000000\n\
        otelcol_exporter_queue_size{data_type=\"logs\",exporter=\"a } b\"} 4000 1700000000000\n\
        otelcol_exporter_queue_size{exporter=\"only/metrics\",data_type=\"metrics\"} NaN\n\
        otelcol_exporter_in_flight_requests{exporter=\"otlp_grpc\"} 5\n\
        otelcol_exporter_in_flight_requests{exporter=\"only/metrics\"} 6\n\
        otelcol_exporter_in_flight_requests{exporter=\"second\",server_address=\"a\"} 2\n\
        otelcol_exporter_in_flight_requests{exporter=\"second\",server_address=\"b\"} 1\n\
        otelcol_exporter_queue_size_bytes{exporter=\"otlp_grpc\"} 99\n\
        otelcol_exporter_sent_spans_total{exporter=\"otlp_grpc\"} 7\n\
        otelcol_process_uptime 1.5e3\n";

    #[test]
    fn both_forms_of_a_name_are_read_and_no_other_name() {
        assert_eq!(total(TEXT, "otelcol_exporter_queue_size"), Some(15.0));
        assert_eq!(total(TEXT, "otelcol_exporter_sent_spans"), Some(7.0));
        assert_eq!(total(TEXT, "otelcol_process_uptime"), Some(1_500.0));
        assert_eq!(total(TEXT, "otelcol_exporter_sent"), None);
        assert_eq!(total(TEXT, "otelcol_exporter_queue_capacity"), None);
        assert_eq!(total(TEXT, "otelcol_exporter_queue_size{data_type=\"traces\"}"), Some(15.0));
        assert_eq!(total(TEXT, "otelcol_exporter_queue_size{data_type=\"trace\"}"), None);
    }

    #[test]
    fn other_signals_do_not_count() {
        // Neither a queue of logs counts, nor requests in flight that a queue's size includes.
        assert_eq!(total(TEXT, QUEUE_SIZE), Some(15.0));
        assert_eq!(unqueued(TEXT), Some(3.0));
        assert_eq!(total("otelcol_exporter_queue_size{data_type=\"logs\"} 4\n", QUEUE_SIZE), None);
        assert_eq!(unqueued("otelcol_exporter_queue_size 4\n"), None);
    }

    #[test]
    fn labels_with_escapes_are_read() {
        let labels = r#"a="x\"",data_type="lo,gs=\"traces\"", b="\\",c="""#;
        assert_eq!(label(labels, "data_type"), Some(r#"lo,gs=\"traces\""#));
        assert_eq!(
            (label(labels, "b"), label(labels, "c"), label(labels, "d")),
            (Some(r"\\"), Some(""), None)
        );
        assert_eq!((label("", "a"), label("a", "a"), label("a=\"", "a")), (None, None, None));
    }

    #[tokio::test]
    async fn a_collectors_metrics_are_in_the_log() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", TEXT.len());
                let _ = stream.write_all((head + TEXT).as_bytes()).await;
            }
        });
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.log");
        let whom =
            control::Scrape { role: "agent".to_owned(), host: "127.0.0.1".to_owned(), port: port.into() };
        let names = [QUEUE_SIZE.to_owned(), "otelcol_exporter_send_failed_spans".to_owned()];
        let scraper = Scraper::open(&path, 7, &[whom], &names).unwrap();
        for _ in 0..100 {
            if !scraper.targets().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!((scraper.targets()[0].queue_size - 15.0).abs() < f64::EPSILON);
        scraper.seal();
        let records = spanproof_ledger::log::decode::<MetricsRecord>(&std::fs::read(&path).unwrap()).unwrap();
        let metrics = Metrics::from_records(&records.records).unwrap();
        let agent = metrics.of("agent").next().unwrap();
        assert_eq!(agent.at(QUEUE_SIZE, u64::MAX), Some(15.0));
        assert_eq!(
            agent.at("otelcol_exporter_send_failed_spans", u64::MAX),
            None,
            "it is not said, so not known"
        );
        assert!(metrics.sealed());
    }
}
