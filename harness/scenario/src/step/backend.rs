//! The step `backend`. Its fields are in `crate::backend`.

use super::{Action, Changed, Surroundings, Traits};
use crate::field_path::ensure;
use crate::limits::{share, time};
use crate::{Answers, Backend, FieldPath, Problem, Slow, Span};
use std::time::Duration;

impl Action for Backend {
    fn key(&self) -> &'static str {
        "backend"
    }

    fn name(&self) -> String {
        self.description()
    }

    fn traits(&self) -> Traits<'_> {
        Traits {
            faults: if self.answers == Answers::Ok { Vec::new() } else { vec![self.fault()] },
            evicts: false,
            changes: Some(Changed::Backend),
            rate: None,
            collector: None,
            deadline: None,
            shortest: self.lasts.map_or(Duration::ZERO, Span::duration),
        }
    }

    fn check(&self, around: Surroundings<'_>, at: &FieldPath) -> Result<(), Problem> {
        for (name, span) in [("for", self.lasts), ("retry_after", self.retry_after)] {
            span.map_or(Ok(()), |span| time(span, &at.then(name)))?;
        }
        self.share.map_or(Ok(()), |part| share(part, &at.then("share")))?;
        if let Answers::Slow(Slow { min, max, mean, .. }) = self.answers {
            let at = at.then("answers").then("slow");
            for (name, span) in [("min", min), ("max", max), ("mean", mean)] {
                span.map_or(Ok(()), |span| time(span, &at.then(name)))?;
            }
        }
        let free = around.scenario.sabotage.sink_forgets_one_in.is_none();
        ensure(free, at, "it would end sabotage.sink_forgets_one_in")
            .map_err(|problem| problem.help("use `backend: {answers: {forget: …}}` instead"))?;
        self.check_fields(at)
    }
}
