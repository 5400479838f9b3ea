//! Nothing remains in the engine, however a test ends.

use crate::engine;
use crate::tier::{Setup, Tier};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A test that panics under load.
#[tokio::test]
#[ignore = "nightly"]
async fn a_test_that_fails_leaves_nothing() {
    let tier = Tier::start(Setup::default()).await;
    let label = tier.label().to_owned();
    assert_eq!(engine::with_label(&label).len(), 7, "five containers, a network, a volume");
    let failed = tokio::spawn(async move {
        tier.until("what never comes", |_| panic!("this panic belongs to the test")).await;
    });
    assert!(failed.await.unwrap_err().is_panic());
    assert_eq!(engine::with_label(&label), Vec::<String>::new());
}

/// A process of these tests that is killed while a tier is under load.
#[test]
fn a_test_that_is_killed_leaves_nothing() {
    let run = format!("killed-{}", std::process::id());
    let label = format!("{}={run}", engine::LABEL);
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--include-ignored", "keeps::nothing_is_lost_when_nothing_happens"])
        .env(engine::RUN, &run)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Half of it is there, and the next container may be on its way.
    await_until("containers", || engine::with_label(&label).len() >= 4);
    test.kill().unwrap();
    test.wait().unwrap();
    await_until("everything to be gone", || engine::with_label(&label).is_empty());
}

fn await_until(awaited: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 90 s for {awaited}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
