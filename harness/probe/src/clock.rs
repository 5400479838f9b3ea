//! The time: a clock that never steps, anchored once to Unix time.
//!
//! Somebody may set a node's clock while a run goes on. What lasted how long is told by the kernel's monotonic clock,
//! which nobody sets; which moment of Unix time that is was looked up once. A process that takes over from another goes
//! on with its anchor, which is kept beside the ledger, as long as the node was not booted in between.

use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the anchor is kept, in the probe's directory.
const FILE: &str = "clock";
/// What is another one after each boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

static ANCHOR: OnceLock<Anchor> = OnceLock::new();

/// A moment by both clocks, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Anchor {
    monotonic: u64,
    unix: u64,
}

impl Anchor {
    fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix = unix.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
        Self { monotonic: monotonic(), unix }
    }

    /// Unix time at a moment of the monotonic clock.
    const fn unix_at(self, monotonic: u64) -> u64 {
        if monotonic >= self.monotonic {
            self.unix.saturating_add(monotonic - self.monotonic)
        } else {
            self.unix.saturating_sub(self.monotonic - monotonic)
        }
    }

    /// As it is kept.
    fn written(self, boot: &str) -> String {
        format!("{boot} {} {}\n", self.monotonic, self.unix)
    }

    /// What was kept, unless that was before the last boot.
    fn read(text: &str, boot: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        (words.next()? == boot).then_some(())?;
        let mut number = || words.next()?.parse().ok();
        Some(Self { monotonic: number()?, unix: number()? })
    }
}

/// Goes on with the clock that an earlier process kept in this directory, or keeps this one's.
pub fn keep(directory: &Path) -> io::Result<()> {
    // Where a boot has no name a process does not know whether its anchor still holds.
    let Ok(boot) = std::fs::read_to_string(BOOT_ID) else { return Ok(()) };
    let (boot, path) = (boot.trim(), directory.join(FILE));
    let kept = std::fs::read_to_string(&path).ok().and_then(|text| Anchor::read(&text, boot));
    let anchor = *ANCHOR.get_or_init(|| kept.unwrap_or_else(Anchor::now));
    if kept == Some(anchor) {
        return Ok(());
    }
    let new = directory.join("clock.new");
    std::fs::write(&new, anchor.written(boot))?;
    std::fs::rename(new, path)
}

/// Unix time in nanoseconds, by the clock that never steps.
pub(crate) fn unix_ns() -> u64 {
    ANCHOR.get_or_init(Anchor::now).unix_at(monotonic())
}

/// Unix time in milliseconds, by the clock that never steps.
pub fn unix_ms() -> u64 {
    unix_ns() / 1_000_000
}

fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let part = |number: i64| u64::try_from(number).unwrap_or_default();
    part(now.tv_sec).saturating_mul(1_000_000_000).saturating_add(part(now.tv_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_none_of_its_business() {
        let anchor = Anchor { monotonic: 100, unix: 5_000 };
        assert_eq!((anchor.unix_at(100), anchor.unix_at(350), anchor.unix_at(40)), (5_000, 5_250, 4_940));
        let before = unix_ns();
        assert!(unix_ns() >= before);
        let wall = Anchor::now().unix;
        assert!(wall.abs_diff(unix_ns()) < 60_000_000_000, "it is the time of day");
    }

    #[test]
    fn a_process_that_takes_over_goes_on_unless_the_node_was_booted() {
        let anchor = Anchor { monotonic: 100, unix: 5_000 };
        let kept = anchor.written("boot-1");
        assert_eq!(Anchor::read(&kept, "boot-1"), Some(anchor));
        assert_eq!(Anchor::read(&kept, "boot-2"), None);
        assert_eq!(Anchor::read("", "boot-1"), None);
        assert_eq!(Anchor::read("boot-1 12", "boot-1"), None);
    }

    #[test]
    fn it_is_kept_beside_the_ledger() {
        let directory = tempfile::tempdir().unwrap();
        keep(directory.path()).unwrap();
        let kept = std::fs::read_to_string(directory.path().join(FILE)).unwrap();
        keep(directory.path()).unwrap();
        assert_eq!(std::fs::read_to_string(directory.path().join(FILE)).unwrap(), kept);
    }
}
