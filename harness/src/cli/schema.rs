//! `spanproof schema`: what editors know a scenario file by.

use super::{CommandEnd, Failure, print};
use spanproof::scenario;

pub(super) fn main() -> Result<CommandEnd, Failure> {
    print(&scenario::schema());
    Ok(CommandEnd::Done)
}
