//! The machine that the harness runs on: its processes, the programs that it calls, and its cache.

mod cache;
pub(crate) mod command;
mod process;

pub use cache::cache_dir;
pub use command::CommandError;
pub use process::Process;
