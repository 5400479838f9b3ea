//! Progress of a run, for the user who waits: `tracing` events of targets of their own, which
//! [`Progress`](crate::report::Progress) shows. Debugging output has the targets of its modules, and is not progress.

use std::fmt::{self, Write as _};
use tracing::Event;
use tracing::field::{Field, Visit};

/// The target of a line of progress, which stays. Its level is INFO.
pub const TARGET: &str = "progress";
/// The target of a status, which the next one replaces. Its level is INFO.
pub const STATUS: &str = "progress::status";

/// Returns the message of an event, without its other fields.
pub(crate) fn message(event: &Event<'_>) -> String {
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                // Writing to a string cannot fail.
                let _ = write!(self.0, "{value:?}");
            }
        }
    }
    let mut message = Message(String::new());
    event.record(&mut message);
    message.0
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::Arc;
    use tracing::Subscriber;
    use tracing::subscriber::DefaultGuard;
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    /// The lines of progress on this thread, in order.
    #[derive(Clone, Default)]
    pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

    impl Lines {
        /// Collects lines until the guard is dropped.
        pub(crate) fn collect() -> (Self, DefaultGuard) {
            let lines = Self::default();
            let subscriber = tracing_subscriber::registry().with(lines.clone());
            (lines, tracing::subscriber::set_default(subscriber))
        }

        pub(crate) fn so_far(&self) -> Vec<String> {
            self.0.lock().clone()
        }
    }

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            if event.metadata().target() == TARGET {
                self.0.lock().push(message(event));
            }
        }
    }

    #[test]
    fn a_message_is_told_as_it_is_written() {
        let (lines, _collecting) = Lines::collect();
        tracing::info!(target: TARGET, node = 7, "{} \"nodes\"\nin all", 3);
        tracing::info!("debugging output");
        tracing::info!(target: STATUS, "how it stands");
        assert_eq!(lines.so_far(), ["3 \"nodes\"\nin all"]);
    }
}
