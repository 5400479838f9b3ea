//! The lease, with an API server that keeps one object in memory.

use super::*;
use crate::host::Process;
use crate::progress::tests::Lines;
use kube::client::Body;
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;

/// The terms of [`TERMS`], but with a lease of one second.
const QUICK: Terms = Terms {
    lasts: Duration::from_secs(1),
    renew_interval: Duration::from_millis(50),
    probation: Duration::from_millis(400),
    poll_interval: Duration::from_millis(20),
    answer_timeout: Duration::from_millis(200),
};

/// An API server for one Lease: optimistic locking by resource version, and preconditions of a deletion.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    object: Option<Value>,
    version: u64,
    /// Carries requests out, but does not answer.
    mute: bool,
    /// Does not answer, nor carry anything out.
    away: bool,
    /// The lease's holder renews it between any two looks at it.
    renewed: bool,
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let (code, answer) = server.lock().answer(parts.method.as_str(), &body);
                if server.lock().away || server.lock().mute {
                    std::future::pending::<()>().await;
                }
                let response =
                    http::Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
                Ok::<_, Infallible>(response.unwrap())
            }
        });
        Client::new(service, "default")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    fn holder(&self) -> Option<Owner> {
        let object = self.lock().object.clone()?;
        owner_of(&serde_json::from_value(object).unwrap())
    }

    /// Stores somebody else's lease, renewed some time ago.
    fn hold(&self, owner: &Owner, ago: Duration) {
        let mut lease = owned(None, owner, &QUICK);
        let renewed = Timestamp::now().saturating_sub(ago).unwrap();
        lease.spec.as_mut().unwrap().renew_time = Some(MicroTime(renewed));
        let mut state = self.lock();
        state.store(serde_json::to_value(lease).unwrap());
    }
}

impl State {
    fn store(&mut self, mut object: Value) -> (u16, Value) {
        self.version += 1;
        let uid = self
            .object
            .as_ref()
            .map_or(json!(format!("uid-{}", self.version)), |it| it["metadata"]["uid"].clone());
        object["metadata"]["uid"] = uid;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.object = Some(object.clone());
        (200, object)
    }

    fn answer(&mut self, method: &str, body: &[u8]) -> (u16, Value) {
        if self.away {
            return (503, Value::Null);
        }
        let refused = |code: u16, reason: &str| {
            (
                code,
                json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": ""}),
            )
        };
        let wanted: Value = serde_json::from_slice(body).unwrap_or_default();
        let same = |of: &Value, there: &Value| {
            ["uid", "resourceVersion"]
                .iter()
                .all(|key| of.get(key).is_none_or(|of| *of == there["metadata"][key]))
        };
        match (method, self.object.clone()) {
            ("GET", Some(object)) if self.renewed => self.store(object),
            ("GET", Some(object)) => (200, object),
            ("POST", None) => self.store(wanted),
            ("PUT", Some(object)) if same(&wanted["metadata"], &object) => self.store(wanted),
            ("DELETE", Some(object)) if same(&wanted["preconditions"], &object) => {
                self.object = None;
                (200, json!({"kind": "Status", "status": "Success"}))
            }
            (_, Some(_)) => refused(409, "Conflict"),
            (_, None) => refused(404, "NotFound"),
        }
    }
}

fn other() -> Owner {
    // A process of another machine: whether it lives cannot be seen from here.
    Owner { host: "elsewhere".to_owned(), pids_of: "elsewhere".to_owned(), ..Owner::current() }
}

async fn take(server: &Server, timeout: Duration) -> Result<Lease, LeaseError> {
    Lease::acquire_with(&server.client(), "dev", timeout, QUICK).await
}

async fn until(awaited: &str, condition: impl Fn() -> bool) {
    let looked = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), looked).await.is_ok(), "waited 20 s for {awaited}");
}

#[tokio::test]
async fn a_free_lease_is_taken_renewed_and_gone_in_the_end() {
    let server = Server::default();
    let lease = take(&server, Duration::ZERO).await.unwrap();
    let object = server.lock().object.clone().unwrap();
    assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/managed-by"], "spanproof");
    assert_eq!(server.holder().as_ref(), Some(&lease.owner));
    until("three renewals", || server.lock().version >= 4).await;
    lease.release().await.unwrap();
    assert_eq!(server.lock().object, None);
    assert!(take(&server, Duration::ZERO).await.is_ok());
}

#[tokio::test]
async fn a_second_holder_is_told_who_the_first_is_or_waits_for_it() {
    let server = Server::default();
    let first = take(&server, Duration::ZERO).await.unwrap();
    let refused = take(&server, Duration::ZERO).await.unwrap_err().to_string();
    assert_eq!(refused, format!("the cluster dev is in use by {}", first.owner));
    let (told, _collecting) = Lines::collect();
    let client = server.client();
    let waiting = Lease::acquire_with(&client, "dev", Duration::from_secs(60), QUICK);
    let letting_go = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        first.release().await.unwrap();
    };
    let (second, ()) = tokio::join!(waiting, letting_go);
    assert_eq!(server.holder().as_ref(), Some(&second.unwrap().owner));
    let said = told.so_far();
    assert!(matches!(&said[..], [once] if once.starts_with("waiting for up to 1m")), "{said:?}");
}

#[tokio::test]
async fn a_dead_holder_is_followed_at_once_and_one_elsewhere_when_its_lease_has_run_out() {
    let server = Server::default();
    server.hold(
        &Owner { process: Process { pid: u32::MAX, began: Some(1) }, ..Owner::current() },
        Duration::ZERO,
    );
    let lease = take(&server, Duration::ZERO).await.unwrap();
    assert_eq!(server.lock().object.as_ref().unwrap()["spec"]["leaseTransitions"], 1);
    lease.release().await.unwrap();

    server.hold(&other(), Duration::ZERO);
    assert!(matches!(take(&server, Duration::ZERO).await, Err(LeaseError::Held { .. })));
    let began = Instant::now();
    server.hold(&other(), Duration::from_secs(3600));
    take(&server, Duration::ZERO).await.unwrap().release().await.unwrap();
    assert!(began.elapsed() >= QUICK.probation);
}

/// The holder's clock is an hour behind, and the holder is alive.
#[tokio::test]
async fn a_holder_that_renews_is_not_followed_whatever_its_clock_says() {
    let server = Server::default();
    server.hold(&other(), Duration::from_secs(3600));
    server.lock().renewed = true;
    let taken = tokio::time::timeout(QUICK.probation * 3, take(&server, Duration::ZERO)).await;
    assert!(taken.is_err(), "{taken:?}");
    assert_eq!(server.holder().unwrap().host, "elsewhere");
}

#[tokio::test]
async fn a_lease_that_somebody_took_over_is_lost_and_left_to_them() {
    let server = Server::default();
    let lease = take(&server, Duration::ZERO).await.unwrap();
    server.hold(&other(), Duration::ZERO);
    let by = tokio::time::timeout(Duration::from_secs(20), lease.lost()).await.unwrap();
    assert!(by.contains("elsewhere"), "{by}");
    assert!(lease.is_lost());
    lease.release().await.unwrap();
    assert_eq!(server.holder().unwrap().host, "elsewhere");
}

#[tokio::test]
async fn a_lease_survives_an_api_server_that_is_away_answers_that_are_lost_and_its_own_removal() {
    let server = Server::default();
    let lease = take(&server, Duration::ZERO).await.unwrap();
    server.lock().away = true;
    tokio::time::sleep(QUICK.answer_timeout * 3).await;
    server.lock().away = false;
    let before = server.lock().version;
    until("a renewal after the outage", || server.lock().version > before).await;

    let before = server.lock().version;
    server.lock().mute = true;
    until("a renewal without an answer", || server.lock().version > before).await;
    tokio::time::sleep(QUICK.answer_timeout).await;
    server.lock().mute = false;
    let before = server.lock().version;
    until("two renewals after that", || server.lock().version > before + 1).await;

    server.lock().object = None;
    until("the lease to be made anew", || server.lock().object.is_some()).await;
    assert!(!lease.is_lost());
    let owner = lease.owner.clone();
    drop(lease);
    assert_eq!(server.holder().as_ref(), Some(&owner), "dropped, it runs out");
    assert!(!remove(&server.client(), &other()).await.unwrap());
    assert!(remove(&server.client(), &owner).await.unwrap());
    assert_eq!(server.lock().object, None);
}
