//! The schedule: when the next request is due. It does not wait for answers (open loop).

use super::book::Book;
use super::{Load, Phase};
use spanproof_ledger::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tracing::info;

/// What may change while the load goes on.
pub(super) struct Given {
    /// Spans per second.
    pub(super) pace: watch::Receiver<f64>,
    /// When nobody is there any more.
    pub(super) lease: watch::Receiver<Instant>,
}

/// Offers requests until the load's end, a stop, or the end of the lease. True if it came to its end.
pub(super) async fn run(
    load: &Load,
    book: &Arc<Book>,
    requests: mpsc::Sender<Range>,
    mut phases: watch::Receiver<Phase>,
    given: Given,
) -> bool {
    let counting = tokio::spawn(count_seconds(Arc::clone(book), phases.clone()));
    let complete = tokio::select! {
        complete = offer(load, book, &requests, given) => complete,
        _ = phases.wait_for(|phase| *phase > Phase::Running) => false,
    };
    counting.abort();
    book.tick(crate::unix_ms());
    complete
}

async fn offer(load: &Load, book: &Book, requests: &mpsc::Sender<Range>, mut given: Given) -> bool {
    // A process that took over from a dead one begins where the schedule is now, not where it broke off.
    let late = Duration::from_millis(crate::unix_ms().saturating_sub(load.started_unix_ms));
    let Some(left) = load.duration.checked_sub(late) else {
        return true;
    };
    let begin = Instant::now();
    let mut slipped = Duration::ZERO;
    let mut timetable = Timetable::new(load.spans_per_request, *given.pace.borrow_and_update());
    loop {
        let due = timetable.due();
        if due >= left {
            return true;
        }
        tokio::select! {
            () = tokio::time::sleep_until((begin + due + slipped).into()) => {}
            changed = given.pace.changed() => {
                if changed.is_err() {
                    return false; // the emitter is gone
                }
                timetable.change(begin.elapsed().saturating_sub(slipped), *given.pace.borrow());
                continue;
            }
        }
        timetable.next();
        if Instant::now() > *given.lease.borrow() {
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
}

/// When requests are due, at a rate that may change. No clock: times are since the beginning.
#[derive(Debug, Clone)]
struct Timetable {
    spans_per_request: f64,
    spans_per_second: f64,
    /// Since when the rate is what it is, and how many requests were due since then.
    since: Duration,
    number: u64,
}

impl Timetable {
    fn new(spans_per_request: u64, spans_per_second: f64) -> Self {
        let spans_per_request = spans_per_request as f64;
        Self { spans_per_request, spans_per_second, since: Duration::ZERO, number: 0 }
    }

    /// When the next request is due. Reckoned from the last change, so that nothing adds up.
    fn due(&self) -> Duration {
        let seconds = self.number as f64 * self.spans_per_request / self.spans_per_second;
        self.since + Duration::from_secs_f64(seconds)
    }

    const fn next(&mut self) {
        self.number += 1;
    }

    /// From now on at another rate; what is due already is due at once.
    fn change(&mut self, now: Duration, spans_per_second: f64) {
        (self.since, self.number, self.spans_per_second) = (now.min(self.due()), 0, spans_per_second);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_rate_takes_effect_at_once_and_nothing_is_lost_of_the_schedule() {
        let mut timetable = Timetable::new(50, 100.0);
        let mut due = Vec::new();
        while timetable.due() < Duration::from_secs(2) {
            due.push(timetable.due().as_millis());
            timetable.next();
        }
        assert_eq!(due, [0, 500, 1_000, 1_500]);
        timetable.change(Duration::from_millis(1_600), 500.0);
        due.clear();
        while timetable.due() < Duration::from_secs(2) {
            due.push(timetable.due().as_millis());
            timetable.next();
        }
        assert_eq!(due, [1_600, 1_700, 1_800, 1_900]);
        timetable.change(Duration::from_secs(60), 1.0);
        assert_eq!(timetable.due(), Duration::from_secs(2), "what was due is not put off");
    }
}
