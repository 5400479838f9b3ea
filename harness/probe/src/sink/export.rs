//! From a request to its answer: read, added up, and treated as the sink was told.

use super::answer::{Body, Refusal};
use super::behaviour::{Conduct, Deed};
use super::request::{Head, NoMessage, malformed, too_large};
use super::tally::{self, Tally};
use super::{Sink, no_plan, until};
use http::Response;
use hyper::body::{Bytes, Incoming};
use spanproof_ledger::{PARTIAL, UNANSWERED};
use std::net::IpAddr;
use std::sync::Arc;
use tonic::Code;

/// There is no answer: the stream is reset.
#[derive(Debug, thiserror::Error)]
#[error("cut off")]
pub(super) struct CutOff;

/// What became of a request.
enum Outcome {
    /// Taken, but for so many spans.
    Taken(u64),
    Refused(Refusal),
}

/// Answers a request.
pub(super) async fn answer(
    sink: Arc<Sink>,
    peer: IpAddr,
    request: http::Request<Incoming>,
) -> Result<Response<Body>, CutOff> {
    let head = match Head::of(&request) {
        Ok(head) => head,
        Err(answer) => {
            sink.malformed.saw(format_args!("{} {}", request.method(), request.uri().path()));
            return Ok(*answer);
        }
    };
    let message = match head.message(request.into_body()).await {
        Ok(message) => message,
        Err(NoMessage::Gone) => return Err(CutOff),
        Err(NoMessage::Refused(refusal)) => {
            sink.malformed.saw(format_args!("{}", refusal.message()));
            return Ok(head.protocol.refused(&refusal));
        }
    };
    let gateway = head.gateway.unwrap_or_else(|| peer.to_string());
    Ok(match export(&sink, &gateway, message).await? {
        Outcome::Taken(rejected) => head.protocol.taken(rejected),
        Outcome::Refused(refusal) => head.protocol.refused(&refusal),
    })
}

async fn export(sink: &Sink, gateway: &str, message: Bytes) -> Result<Outcome, CutOff> {
    let Some(terms) = sink.terms.get() else {
        return Ok(Outcome::Refused(no_plan()));
    };
    let mut conduct = sink.conduct.subscribe();
    let deed = {
        let told: Arc<Conduct> = conduct.borrow_and_update().clone();
        told.to_request(crate::unix_ms(), sink.number(), message.len())
    };
    let leave_out = match deed {
        Deed::Partial { one_in } | Deed::Forget { one_in } => one_in,
        _ => 0,
    };
    let size = message.len();
    let request = match tally::Request::of(&message, terms, leave_out) {
        Ok(request) => request,
        Err(error) => {
            sink.malformed.saw(format_args!("{error}"));
            return Ok(Outcome::Refused(malformed(error.to_string())));
        }
    };
    drop(message); // an answer may be long in coming
    let tally::Request { taken: tally, left_out } = request;
    let harmless = matches!(deed, Deed::Partial { .. } | Deed::Forget { .. }) && left_out.streams.is_empty();
    if deed != Deed::Take && !harmless {
        sink.misbehaved();
    }
    Ok(match deed {
        Deed::Take | Deed::Forget { .. } => sink.take(gateway, &tally),
        Deed::Partial { .. } => match sink.take(gateway, &tally) {
            Outcome::Taken(_) if !harmless => sink.refuse_part(&left_out),
            outcome => outcome,
        },
        Deed::Refuse(refuse) => {
            let refusal = Refusal::new(Code::from(refuse.code.cast_signed()), AS_TOLD);
            sink.refuse(&tally, refusal.retry_after(refuse.retry_after_ms))
        }
        Deed::TooLarge(limit) => {
            sink.refuse(&tally, too_large(size, usize::try_from(limit).unwrap_or(usize::MAX)))
        }
        Deed::ResetStream => {
            // What a client of gRPC makes of it, so that a loss goes by the name that the client gave it.
            sink.refuse(&tally, Refusal::new(Code::Internal, "its stream is reset"));
            return Err(CutOff);
        }
        Deed::Hang { until_unix_ms } => {
            sink.leave_unanswered(&tally);
            drop(tally);
            tokio::select! {
                () = until(until_unix_ms) => {}
                _ = conduct.changed() => {}
            }
            Outcome::Refused(Refusal::new(Code::Unavailable, "it does not hang any more"))
        }
        Deed::Slow { pause, take_first: true } => {
            let outcome = sink.take(gateway, &tally);
            tokio::time::sleep(pause).await;
            outcome
        }
        Deed::Slow { pause, take_first: false } => {
            let waiting = Waiting { sink, tally: Some(tally) };
            tokio::time::sleep(pause).await;
            waiting.over(gateway)
        }
    })
}

const AS_TOLD: &str = "refused, as the scenario wants it";

/// A request that was not taken yet. If the client gives up it goes unanswered, and that is on the books.
struct Waiting<'a> {
    sink: &'a Sink,
    tally: Option<Tally>,
}

impl Waiting<'_> {
    fn over(mut self, gateway: &str) -> Outcome {
        self.tally.take().map_or(Outcome::Taken(0), |tally| self.sink.take(gateway, &tally))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(tally) = self.tally.take() {
            self.sink.leave_unanswered(&tally);
        }
    }
}

impl Sink {
    fn take(&self, gateway: &str, tally: &Tally) -> Outcome {
        let taken = self.with_books(|books| books.take(crate::unix_ns(), gateway, tally));
        match taken {
            Ok(()) => Outcome::Taken(0),
            Err(closed) => Outcome::Refused(closed),
        }
    }

    /// What was left out of a request that was taken.
    fn refuse_part(&self, left_out: &Tally) -> Outcome {
        match self.with_books(|books| books.refuse(crate::unix_ms(), left_out, PARTIAL)) {
            Ok(()) => Outcome::Taken(left_out.spans()),
            Err(closed) => Outcome::Refused(closed),
        }
    }

    fn refuse(&self, tally: &Tally, refusal: Refusal) -> Outcome {
        let code = u8::try_from(i32::from(refusal.code)).unwrap_or(u8::MAX);
        match self.with_books(|books| books.refuse(crate::unix_ms(), tally, code)) {
            Ok(()) => Outcome::Refused(refusal),
            Err(closed) => Outcome::Refused(closed),
        }
    }

    fn leave_unanswered(&self, tally: &Tally) {
        // There is nobody to be told if it could not be written down; the status says so.
        let _ = self.with_books(|books| books.refuse(crate::unix_ms(), tally, UNANSWERED));
    }
}
