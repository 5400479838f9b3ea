//! `spanproof schema`: prints the schema by which editors check a scenario file.

use super::{CommandEnd, Failure, print};
use spanproof::scenario;

pub(super) fn main() -> Result<CommandEnd, Failure> {
    print(&scenario::schema());
    Ok(CommandEnd::Done)
}
