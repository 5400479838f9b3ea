//! Which process: its number, and when it began, for numbers are used again.

use serde::{Deserialize, Serialize};
use std::path::Path;

/// A process of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it began, in the kernel's ticks since it booted; none where that cannot be seen.
    pub began: Option<u64>,
}

/// What the kernel says of a process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// It has ended, and its parent does not know yet.
    ended: bool,
    began: u64,
}

impl Process {
    /// This one.
    pub(crate) fn this() -> Self {
        let pid = std::process::id();
        Self { pid, began: stat(pid).map(|stat| stat.began) }
    }

    /// Whether it is still there; none where that cannot be seen.
    pub fn lives(&self) -> Option<bool> {
        let began = self.began.filter(|_| Path::new("/proc/self/stat").exists())?;
        Some(stat(self.pid).is_some_and(|stat| stat.began == began && !stat.ended))
    }
}

fn stat(pid: u32) -> Option<Stat> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The third field is the state, the 22nd the start. The second is the program's name, with anything in it.
fn parse(text: &str) -> Option<Stat> {
    let (_, behind_name) = text.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X");
    Some(Stat { ended, began: fields.nth(18)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_number_and_its_start() {
        let this = Process::this();
        assert_eq!(this.lives(), Some(true));
        let earlier = Process { began: this.began.map(|began| began - 1), ..this };
        assert_eq!(earlier.lives(), Some(false), "another process has its number now");
        assert_eq!(Process { pid: u32::MAX, began: Some(1) }.lives(), Some(false));
        assert_eq!(Process { pid: 1, began: None }.lives(), None);
    }

    #[test]
    fn a_name_may_hold_anything() {
        let text = "12 (a) Z (b) S 1 12 12 0 -1 4194304 1 0 0 0 1 2 3 4 20 0 1 0 777 9 9";
        assert_eq!(parse(text), Some(Stat { ended: false, began: 777 }));
        assert_eq!(parse(&text.replace(" S ", " Z ")), Some(Stat { ended: true, began: 777 }));
        assert_eq!(parse("12 (cut"), None);
    }
}
