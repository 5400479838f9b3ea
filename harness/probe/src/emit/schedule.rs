//! The schedule: when the next request is due. It does not wait for answers (open loop).

use super::book::Book;
use super::{Load, Phase};
use spanproof_ledger::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tracing::info;

/// Offers requests until the load's end, a stop, or the end of the lease. True if it came to its end.
pub(super) async fn run(
    load: &Load,
    book: &Arc<Book>,
    requests: mpsc::Sender<Range>,
    mut phases: watch::Receiver<Phase>,
    lease: watch::Receiver<Instant>,
) -> bool {
    let counting = tokio::spawn(count_seconds(Arc::clone(book), phases.clone()));
    let complete = tokio::select! {
        complete = offer(load, book, &requests, lease) => complete,
        _ = phases.wait_for(|phase| *phase > Phase::Running) => false,
    };
    counting.abort();
    book.tick(crate::unix_ms());
    complete
}

async fn offer(
    load: &Load,
    book: &Book,
    requests: &mpsc::Sender<Range>,
    lease: watch::Receiver<Instant>,
) -> bool {
    // A process that took over from a dead one begins where the schedule is now, not where it broke off.
    let late = Duration::from_millis(crate::unix_ms().saturating_sub(load.started_unix_ms));
    let Some(left) = load.duration.checked_sub(late) else {
        return true;
    };
    let begin = Instant::now();
    let mut slipped = Duration::ZERO;
    for number in 0u64.. {
        let due = Duration::from_secs_f64((number * load.spans_per_request) as f64 / load.spans_per_second);
        if due >= left {
            return true;
        }
        tokio::time::sleep_until((begin + due + slipped).into()).await;
        if Instant::now() > *lease.borrow() {
            info!("the lease ran out: nobody is there any more");
            return false;
        }
        book.offer(load.spans_per_request, millis(slipped));
        let asked = Instant::now();
        let Ok(permit) = requests.reserve().await else {
            return false;
        };
        // Waiting here means that the queue was full: the agent does not keep up, the schedule slips.
        let waited = asked.elapsed();
        if waited > Duration::from_millis(1) {
            slipped += waited;
        }
        let Some(range) = book.take(load.spans_per_request) else {
            return false;
        };
        permit.send(range);
    }
    true
}

async fn count_seconds(book: Arc<Book>, phases: watch::Receiver<Phase>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    seconds.tick().await;
    let mut began = crate::unix_ms();
    while *phases.borrow() == Phase::Running {
        seconds.tick().await;
        book.tick(began);
        began = crate::unix_ms();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
