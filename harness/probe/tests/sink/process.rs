//! The process: its errors at the start, and its ledger after a kill or a failed write.

use super::*;
use spanproof_probe::control::{State, probe_client::ProbeClient};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

const PROBE: &str = env!("CARGO_BIN_EXE_spanproof-probe");

fn sink(data: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(PROBE);
    command.args(["sink", "--data"]).arg(data);
    let any = "127.0.0.1:0";
    for option in ["--control", "--otlp", "--otlp-http"] {
        if !more.contains(&option) {
            command.args([option, any]);
        }
    }
    command.args(more).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running sink, killed when dropped.
struct Process {
    child: Child,
    control: SocketAddr,
    otlp: SocketAddr,
}

impl Process {
    fn of(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        // "... serving control address=127.0.0.1:4400"
        let mut address = |what: &str| loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended before it said: {what}");
            if line.contains(what) {
                let rest = line.split("address=").nth(1).unwrap();
                break rest.split_whitespace().next().unwrap().parse().unwrap();
            }
        };
        let control = address("serving control");
        let otlp = address("receiving spans");
        // The log is read to its end, so that the process never blocks on it.
        std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
        Self { child, control, otlp }
    }

    async fn client(&self) -> TraceServiceClient<Channel> {
        TraceServiceClient::connect(format!("http://{}", self.otlp)).await.unwrap()
    }

    async fn probe(&self) -> ProbeClient<Channel> {
        ProbeClient::connect(format!("http://{}", self.control)).await.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The one error line of a process that cannot start.
fn refused(mut command: Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let log = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{log}");
    let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{log}");
    assert!(!log.contains("panicked"), "{log}");
    errors[0].to_owned()
}

#[test]
fn a_port_that_is_taken_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for option in ["--control", "--otlp", "--otlp-http"] {
        let error = refused(sink(dir.path(), &[option, &address]));
        assert!(error.contains(&format!("serving {address}: Address already in use")), "{error}");
    }
}

#[test]
fn a_directory_that_cannot_be_written_to_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = refused(sink(file.path(), &[]));
    assert!(
        error.contains(file.path().to_str().unwrap()) && error.contains("cannot be written to"),
        "{error}"
    );
}

#[test]
fn bad_certificates_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = refused(sink(dir.path(), &["--tls-certificate", "/nowhere/a", "--tls-key", "/nowhere/b"]));
    assert!(error.contains("certificate /nowhere/a: No such file"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_ledger_is_named_with_the_place() {
    let dir = tempfile::tempdir().unwrap();
    {
        let process = Process::of(sink(dir.path(), &[]));
        process.probe().await.start(plan()).await.unwrap();
        process.client().await.export(request(0..5)).await.unwrap();
    }
    let path = dir.path().join("sink.ledger");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[16] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = refused(sink(dir.path(), &[]));
    assert!(error.contains(path.to_str().unwrap()) && error.contains("offset 6"), "{error}");
}

/// Spans acknowledged before a kill are in the ledger.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_spans_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = RangeSet::new();
    for round in 0..5_u64 {
        let mut process = Process::of(sink(dir.path(), &[]));
        process.probe().await.start(plan()).await.unwrap();
        let mut client = process.client().await;
        let first = round * 1_000_000;
        let sending = tokio::spawn(async move {
            let mut end = first;
            while client.export(request(end..end + 50)).await.is_ok() {
                end += 50;
            }
            Range::new(first, end)
        });
        tokio::time::sleep(Duration::from_millis(50 + 30 * round)).await;
        process.child.kill().unwrap();
        acknowledged.insert(sending.await.unwrap());
    }
    let bytes = std::fs::read(dir.path().join("sink.ledger")).unwrap();
    let ledger = SinkLedger::from_records(&log::decode::<SinkRecord>(&bytes).unwrap().records).unwrap();
    assert_eq!(ledger.incarnations(), 5);
    assert!(acknowledged.count() > 0);
    let missing = acknowledged.difference(&delivered(&ledger));
    assert!(missing.is_empty(), "acknowledged and not in the ledger: {missing}");
}

/// A sink whose ledger cannot grow refuses everything and reports it; everything acknowledged is in the ledger.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_reported_and_only_written_spans_are_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut limited = Command::new("sh");
    // For a process, a limit on the size of files is like a full disk.
    limited.args(["-c", "trap '' XFSZ; ulimit -f 2; exec \"$@\"", "sh", PROBE, "sink", "--data"]);
    limited.arg(dir.path());
    limited.args(["--control", "127.0.0.1:0", "--otlp", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0"]);
    limited.stdout(Stdio::null()).stderr(Stdio::piped());
    let process = Process::of(limited);
    process.probe().await.start(plan()).await.unwrap();
    let mut client = process.client().await;
    let mut acknowledged = RangeSet::new();
    let refused = loop {
        let first = acknowledged.end() + 1; // a gap each time
        match client.export(request(first..first + 1)).await {
            Ok(_) => acknowledged.insert(Range::new(first, first + 1)),
            Err(refused) => break refused,
        };
    };
    assert_eq!(refused.code(), tonic::Code::Unavailable);
    assert!(refused.message().contains("sink.ledger"), "{refused}");
    let status = process.probe().await.renew(Lease::default()).await.unwrap().into_inner();
    assert_eq!(status.state(), State::Failed);
    assert!(status.problem.contains("sink.ledger"), "{}", status.problem);
    client.export(request(900..901)).await.expect_err("it goes on refusing");
    drop(process);
    let bytes = std::fs::read(dir.path().join("sink.ledger")).unwrap();
    let ledger = SinkLedger::from_records(&log::decode::<SinkRecord>(&bytes).unwrap().records).unwrap();
    assert!(acknowledged.count() > 5, "{acknowledged}");
    assert_eq!(delivered(&ledger), acknowledged);
}

/// On SIGTERM records in memory are written; the ledger is not sealed.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_writes_records_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::of(sink(dir.path(), &[]));
    let role = SinkPlan { trace_one_in: 1, ..SinkPlan::default() };
    process.probe().await.start(Plan { role: Some(Role::Sink(role)), ..plan() }).await.unwrap();
    process.client().await.export(request(0..10)).await.unwrap();
    assert!(read_ledger(dir.path()).traces().is_empty());
    let pid = process.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(process.child.wait().unwrap().success());
    let ledger = read_ledger(dir.path());
    assert_eq!((ledger.traces().len(), ledger.seal()), (1, None));
}

/// Records are synced soon, which the ledger records; a restart under the same boot of the machine loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn records_are_synced_and_a_restart_under_the_same_boot_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::of(sink(dir.path(), &[]));
    process.probe().await.start(plan()).await.unwrap();
    process.client().await.export(request(0..5)).await.unwrap();
    let synced = || {
        let bytes = std::fs::read(dir.path().join("sink.ledger")).unwrap();
        let records = log::decode::<SinkRecord>(&bytes).unwrap().records;
        records.iter().any(|record| matches!(record, SinkRecord::Synced { .. }))
    };
    let waiting = tokio::time::timeout(Duration::from_secs(30), async {
        while !synced() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    waiting.await.unwrap();
    process.child.kill().unwrap();
    process.child.wait().unwrap();
    drop(Process::of(sink(dir.path(), &[])));
    let restarts: Vec<_> = read_ledger(dir.path()).restarts().collect();
    assert_eq!(restarts.len(), 1);
    assert_eq!(restarts[0].lost_since, None, "under the same start of the kernel");
}
