//! The handling of a request: read, summed up, and answered according to the sink's behaviour.

use super::answer::{Body, Refusal};
use super::behaviour::{BehaviourRules, RequestAction};
use super::request::{Head, MessageError, malformed, too_large};
use super::tally::{self, Tally};
use super::{Sink, no_plan, until};
use http::Response;
use hyper::body::{Bytes, Incoming};
use spanproof_ledger::{PARTIAL, UNANSWERED};
use std::net::IpAddr;
use std::sync::Arc;
use tonic::Code;

/// An error without an answer: the stream is reset.
#[derive(Debug, thiserror::Error)]
#[error("cut off")]
pub(super) struct StreamReset;

/// The outcome of a request.
enum ExportOutcome {
    /// Accepted, except for this many spans.
    Taken(u64),
    Refused(Refusal),
}

/// Answers a request.
pub(super) async fn answer(
    sink: Arc<Sink>,
    peer: IpAddr,
    request: http::Request<Incoming>,
) -> Result<Response<Body>, StreamReset> {
    let head = match Head::of(&request) {
        Ok(head) => head,
        Err(answer) => {
            sink.malformed.record(format_args!("{} {}", request.method(), request.uri().path()));
            return Ok(*answer);
        }
    };
    let message = match head.message(request.into_body()).await {
        Ok(message) => message,
        Err(MessageError::Disconnected) => return Err(StreamReset),
        Err(MessageError::Refused(refusal)) => {
            sink.malformed.record(format_args!("{}", refusal.message()));
            return Ok(head.protocol.refused(&refusal));
        }
    };
    let gateway = head.gateway.unwrap_or_else(|| peer.to_string());
    Ok(match export(&sink, &gateway, message).await? {
        ExportOutcome::Taken(rejected) => head.protocol.taken(rejected),
        ExportOutcome::Refused(refusal) => head.protocol.refused(&refusal),
    })
}

async fn export(sink: &Sink, gateway: &str, message: Bytes) -> Result<ExportOutcome, StreamReset> {
    let Some(settings) = sink.settings.get() else {
        return Ok(ExportOutcome::Refused(no_plan()));
    };
    let mut rules = sink.rules.subscribe();
    let action = {
        let told: Arc<BehaviourRules> = rules.borrow_and_update().clone();
        told.request_action(crate::unix_ms(), sink.number(), message.len())
    };
    let left_out_one_in = match action {
        RequestAction::Partial { one_in } | RequestAction::Forget { one_in } => one_in,
        _ => 0,
    };
    let size = message.len();
    let request = match tally::ScannedRequest::of(&message, settings, left_out_one_in) {
        Ok(request) => request,
        Err(error) => {
            sink.malformed.record(format_args!("{error}"));
            return Ok(ExportOutcome::Refused(malformed(error.to_string())));
        }
    };
    drop(message); // the answer may be delayed
    let tally::ScannedRequest { taken: tally, left_out } = request;
    let harmless = matches!(action, RequestAction::Partial { .. } | RequestAction::Forget { .. })
        && left_out.streams.is_empty();
    if action != RequestAction::Take && !harmless {
        sink.misbehaved();
    }
    Ok(match action {
        RequestAction::Take | RequestAction::Forget { .. } => sink.take(gateway, &tally),
        RequestAction::Partial { .. } => match sink.take(gateway, &tally) {
            ExportOutcome::Taken(_) if !harmless => sink.refuse_part(&left_out),
            outcome => outcome,
        },
        RequestAction::Refuse(refuse) => {
            let refusal = Refusal::new(Code::from(refuse.code.cast_signed()), REFUSED_BY_PLAN);
            sink.refuse(&tally, refusal.retry_after(refuse.retry_after_ms))
        }
        RequestAction::TooLarge(limit) => {
            sink.refuse(&tally, too_large(size, usize::try_from(limit).unwrap_or(usize::MAX)))
        }
        RequestAction::ResetStream => {
            // The code with which a gRPC client reports a reset stream.
            sink.refuse(&tally, Refusal::new(Code::Internal, "its stream is reset"));
            return Err(StreamReset);
        }
        RequestAction::Hang { until_unix_ms } => {
            sink.leave_unanswered(&tally);
            drop(tally);
            tokio::select! {
                () = until(until_unix_ms) => {}
                _ = rules.changed() => {}
            }
            ExportOutcome::Refused(Refusal::new(Code::Unavailable, "the sink no longer hangs"))
        }
        RequestAction::Slow { pause, take_first: true } => {
            let outcome = sink.take(gateway, &tally);
            tokio::time::sleep(pause).await;
            outcome
        }
        RequestAction::Slow { pause, take_first: false } => {
            let waiting = PendingRequest { sink, tally: Some(tally) };
            tokio::time::sleep(pause).await;
            waiting.accept(gateway)
        }
    })
}

const REFUSED_BY_PLAN: &str = "refused, as the scenario specifies";

/// A request that is not accepted yet. If the client gives up, it is recorded as unanswered.
struct PendingRequest<'a> {
    sink: &'a Sink,
    tally: Option<Tally>,
}

impl PendingRequest<'_> {
    fn accept(mut self, gateway: &str) -> ExportOutcome {
        self.tally.take().map_or(ExportOutcome::Taken(0), |tally| self.sink.take(gateway, &tally))
    }
}

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        if let Some(tally) = self.tally.take() {
            self.sink.leave_unanswered(&tally);
        }
    }
}

impl Sink {
    fn take(&self, gateway: &str, tally: &Tally) -> ExportOutcome {
        let taken = self.with_store(|store| store.take(crate::unix_ns(), gateway, tally));
        match taken {
            Ok(()) => ExportOutcome::Taken(0),
            Err(closed) => ExportOutcome::Refused(closed),
        }
    }

    /// Records the spans left out of an accepted request.
    fn refuse_part(&self, left_out: &Tally) -> ExportOutcome {
        match self.with_store(|store| store.refuse(crate::unix_ms(), left_out, PARTIAL)) {
            Ok(()) => ExportOutcome::Taken(left_out.spans()),
            Err(closed) => ExportOutcome::Refused(closed),
        }
    }

    fn refuse(&self, tally: &Tally, refusal: Refusal) -> ExportOutcome {
        let code = u8::try_from(i32::from(refusal.code)).unwrap_or(u8::MAX);
        match self.with_store(|store| store.refuse(crate::unix_ms(), tally, code)) {
            Ok(()) => ExportOutcome::Refused(refusal),
            Err(closed) => ExportOutcome::Refused(closed),
        }
    }

    fn leave_unanswered(&self, tally: &Tally) {
        // A failed write cannot be reported to the client; it is in the status.
        let _ = self.with_store(|store| store.refuse(crate::unix_ms(), tally, UNANSWERED));
    }
}
