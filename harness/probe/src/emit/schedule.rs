//! The schedule: the due times of requests. It does not wait for answers (open loop).

use super::profile::Profile;
use super::sender::{DueRequest, RequestSender};
use super::store::EmitterStore;
use super::{Load, Phase};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};
use tokio::time::MissedTickBehavior;
use tracing::info;

/// The inputs of a schedule besides the plan.
pub(super) struct ScheduleInputs {
    /// The time since the load's start, if another process started it.
    pub(super) late: Duration,
    /// Spans per second in place of the profile; none before the first change.
    pub(super) rate: watch::Receiver<Option<f64>>,
    /// The end of the lease.
    pub(super) lease: watch::Receiver<Instant>,
}

/// Offers requests until the load's end, a stop, or the end of the lease; then waits until each has an outcome.
/// Returns `true` if the load came to its end.
pub(super) async fn run(
    load: &Load,
    store: &Arc<EmitterStore>,
    sender: &Arc<RequestSender>,
    ending: &watch::Sender<Phase>,
    inputs: ScheduleInputs,
) -> bool {
    let mut phases = ending.subscribe();
    // Each request holds one until it has an outcome, which limits the memory.
    let held = Arc::new(Semaphore::new(load.held_requests));
    let counting = tokio::spawn(count_seconds(Arc::clone(store), phases.clone()));
    let complete = tokio::select! {
        complete = offer(load, store, sender, &held, inputs) => complete,
        _ = phases.wait_for(|phase| *phase > Phase::Running) => false,
    };
    super::drain(ending, Instant::now() + super::MAX_DRAIN);
    let all = u32::try_from(load.held_requests).unwrap_or(u32::MAX);
    // It is never closed.
    let _ = held.acquire_many(all).await;
    counting.abort();
    store.tick(crate::unix_ms());
    complete
}

async fn offer(
    load: &Load,
    store: &EmitterStore,
    sender: &Arc<RequestSender>,
    held: &Arc<Semaphore>,
    mut inputs: ScheduleInputs,
) -> bool {
    // A process that continues after another begins at the current time of the schedule, not where it was interrupted.
    let late = inputs.late;
    let (begin, begin_unix_ns) = (Instant::now(), crate::unix_ns());
    let mut slipped = Duration::ZERO;
    let mut timetable = Timetable::new(load, late);
    loop {
        // The load ends with its profile or after its duration.
        let end = timetable.end.min(load.duration);
        let due = timetable.due().filter(|due| *due < end);
        let at = due.unwrap_or(end).saturating_sub(late) + slipped;
        tokio::select! {
            () = tokio::time::sleep_until((begin + at).into()) => {}
            changed = inputs.rate.changed() => {
                if changed.is_err() {
                    return false; // the emitter is gone
                }
                if let Some(rate) = *inputs.rate.borrow() {
                    timetable.change((late + begin.elapsed()).saturating_sub(slipped), rate);
                }
                continue;
            }
        }
        if due.is_none() {
            return true;
        }
        timetable.next();
        if Instant::now() > *inputs.lease.borrow() {
            info!("the lease expired");
            return false;
        }
        store.offer(load.spans_per_request, super::millis(slipped));
        let asked = Instant::now();
        let Ok(permit) = Arc::clone(held).acquire_owned().await else {
            return false;
        };
        // A wait here means that the limit of held requests is reached: the agent does not keep up, the schedule slips.
        let waited = asked.elapsed();
        if waited > Duration::from_millis(1) {
            slipped += waited;
        }
        let Some(range) = store.take(load.spans_per_request) else {
            return false;
        };
        let unix_ns = begin_unix_ns + u64::try_from(at.as_nanos()).unwrap_or_default();
        let due = DueRequest { range, at: begin + at, unix_ns };
        tokio::spawn(Arc::clone(sender).deliver(due, permit));
    }
}

/// The due times of requests, by a profile or at a changed rate. Reads no clock: times are since the load's start.
#[derive(Debug, Clone)]
struct Timetable {
    profile: Profile,
    spans_per_request: f64,
    /// The start of the profile, and the number of requests due since then.
    since: Duration,
    number: u64,
    /// The end of the profile.
    end: Duration,
    /// The longest delay of a request, as a share of the time to the next.
    jitter: f64,
    seed: u64,
}

impl Timetable {
    /// The timetable from `late` on.
    fn new(load: &Load, late: Duration) -> Self {
        let spans_per_request = load.spans_per_request as f64;
        let (profile, since, number) = if let Some(rate) = load.rate {
            // A changed rate is in force from then on.
            (Profile::constant(rate), late, 0)
        } else {
            let before = load.profile.spans_by(late.as_secs_f64()) / spans_per_request;
            (load.profile.clone(), Duration::ZERO, to_number(before.ceil()))
        };
        let end = profile.length().unwrap_or(Duration::MAX);
        Self { profile, spans_per_request, since, number, end, jitter: load.jitter, seed: load.seed }
    }

    /// The due time of the next request; none if there is none. Computed from the last change, so that errors do not
    /// accumulate.
    fn due(&self) -> Option<Duration> {
        let when = |number: u64| self.profile.when(number as f64 * self.spans_per_request);
        let mut at = when(self.number)?;
        if self.jitter > 0.0
            && let Some(next) = when(self.number + 1)
        {
            at += (next - at) * self.jitter * super::chance(self.seed, self.number);
        }
        Some(self.since + Duration::try_from_secs_f64(at).ok()?)
    }

    const fn next(&mut self) {
        self.number += 1;
    }

    /// Changes the rate from now on; a request that is due already stays due.
    fn change(&mut self, now: Duration, spans_per_second: f64) {
        self.since = self.due().map_or(now, |due| now.min(due));
        (self.number, self.profile, self.end) = (0, Profile::constant(spans_per_second), Duration::MAX);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of requests, never below 0"
)]
const fn to_number(requests: f64) -> u64 {
    requests as u64
}

async fn count_seconds(store: Arc<EmitterStore>, phases: watch::Receiver<Phase>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    seconds.tick().await;
    let mut began = crate::unix_ms();
    while *phases.borrow() < Phase::Sealed {
        seconds.tick().await;
        store.tick(began);
        began = crate::unix_ms();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timetable(jitter: f64) -> Timetable {
        let (profile, end) = (Profile::constant(100.0), Duration::MAX);
        Timetable { profile, spans_per_request: 50.0, since: Duration::ZERO, number: 0, end, jitter, seed: 7 }
    }

    fn due_until(timetable: &mut Timetable, end: Duration) -> Vec<u128> {
        let mut all = Vec::new();
        while let Some(due) = timetable.due().filter(|due| *due < end) {
            all.push(due.as_millis());
            timetable.next();
        }
        all
    }

    #[test]
    fn a_change_of_rate_takes_effect_at_once_and_no_request_is_skipped() {
        let mut timetable = timetable(0.0);
        assert_eq!(due_until(&mut timetable, Duration::from_secs(2)), [0, 500, 1_000, 1_500]);
        timetable.change(Duration::from_millis(1_600), 500.0);
        assert_eq!(due_until(&mut timetable, Duration::from_secs(2)), [1_600, 1_700, 1_800, 1_900]);
        timetable.change(Duration::from_secs(60), 1.0);
        assert_eq!(timetable.due(), Some(Duration::from_secs(2)), "what was due is not put off");
    }

    #[test]
    fn jitter_keeps_order_and_number_and_is_repeatable_by_seed() {
        let (mut even, mut odd) = (timetable(0.0), timetable(1.0));
        let end = Duration::from_secs(100);
        let (even, jittered) = (due_until(&mut even, end), due_until(&mut odd, end));
        assert!(jittered.is_sorted() && even.len() - jittered.len() <= 1);
        assert!(even.iter().zip(&jittered).all(|(even, late)| even <= late && *late < even + 500));
        assert!(jittered.windows(2).any(|pair| pair[1] - pair[0] < 250));
        let mut again = timetable(1.0);
        assert_eq!(due_until(&mut again, end), jittered);
    }
}
