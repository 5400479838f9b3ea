//! A clock that never steps, anchored once to Unix time.
//!
//! A node's clock may be set during a run. So durations are measured with the kernel's monotonic clock, and Unix time
//! is read once, as the anchor. A process that continues after another uses the same anchor, which is kept beside the
//! ledger, unless the node was rebooted in between.

use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// The anchor's file in the probe's directory.
const FILE: &str = "clock";
/// The file with the boot ID, a new one after each boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

static ANCHOR: OnceLock<Anchor> = OnceLock::new();

/// One time on both clocks, in nanoseconds.
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

    /// Unix time at a time of the monotonic clock.
    const fn unix_at(self, monotonic: u64) -> u64 {
        if monotonic >= self.monotonic {
            self.unix.saturating_add(monotonic - self.monotonic)
        } else {
            self.unix.saturating_sub(self.monotonic - monotonic)
        }
    }

    /// The anchor's line in its file.
    fn to_line(self, boot: &str) -> String {
        format!("{boot} {} {}\n", self.monotonic, self.unix)
    }

    /// Parses the line of [`Self::to_line`]; none if it was written before the last boot.
    fn read(text: &str, boot: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        (words.next()? == boot).then_some(())?;
        let mut number = || words.next()?.parse().ok();
        Some(Self { monotonic: number()?, unix: number()? })
    }
}

/// The boot ID of the machine's kernel; none if it cannot be read.
pub(crate) fn boot_id() -> Option<String> {
    std::fs::read_to_string(BOOT_ID).ok().map(|id| id.trim().to_owned())
}

/// Restores the anchor of an earlier process from `directory`, or keeps this process's anchor there.
pub fn restore_or_keep(directory: &Path) -> io::Result<()> {
    // Without a boot ID it is not known whether an anchor is still valid.
    let Some(boot) = boot_id() else { return Ok(()) };
    let path = directory.join(FILE);
    let kept = std::fs::read_to_string(&path).ok().and_then(|text| Anchor::read(&text, &boot));
    let anchor = *ANCHOR.get_or_init(|| kept.unwrap_or_else(Anchor::now));
    if kept == Some(anchor) {
        return Ok(());
    }
    let new = directory.join("clock.new");
    std::fs::write(&new, anchor.to_line(&boot))?;
    std::fs::rename(new, path)
}

/// Unix time in nanoseconds, on the clock that never steps.
pub(crate) fn unix_ns() -> u64 {
    ANCHOR.get_or_init(Anchor::now).unix_at(monotonic())
}

/// Unix time in milliseconds, on the clock that never steps.
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
    fn setting_the_clock_changes_nothing() {
        let anchor = Anchor { monotonic: 100, unix: 5_000 };
        assert_eq!((anchor.unix_at(100), anchor.unix_at(350), anchor.unix_at(40)), (5_000, 5_250, 4_940));
        let before = unix_ns();
        assert!(unix_ns() >= before);
        let wall = Anchor::now().unix;
        assert!(wall.abs_diff(unix_ns()) < 60_000_000_000, "it is the time of day");
    }

    #[test]
    fn an_anchor_is_restored_unless_the_node_was_rebooted() {
        let anchor = Anchor { monotonic: 100, unix: 5_000 };
        let kept = anchor.to_line("boot-1");
        assert_eq!(Anchor::read(&kept, "boot-1"), Some(anchor));
        assert_eq!(Anchor::read(&kept, "boot-2"), None);
        assert_eq!(Anchor::read("", "boot-1"), None);
        assert_eq!(Anchor::read("boot-1 12", "boot-1"), None);
    }

    #[test]
    fn the_anchor_is_kept_beside_the_ledger() {
        let directory = tempfile::tempdir().unwrap();
        restore_or_keep(directory.path()).unwrap();
        let kept = std::fs::read_to_string(directory.path().join(FILE)).unwrap();
        restore_or_keep(directory.path()).unwrap();
        assert_eq!(std::fs::read_to_string(directory.path().join(FILE)).unwrap(), kept);
    }
}
