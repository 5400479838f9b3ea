//! `spanproof schema`: what editors know a scenario file by.

use super::{Complaint, End, print};
use spanproof::scenario;

pub(super) fn main() -> Result<End, Complaint> {
    print(&scenario::schema());
    Ok(End::Done)
}
