//! Does nothing for a while.

use super::{About, Candidates, FaultError, Moved, Perform, Stage};
use crate::extent::Takes;
use crate::rights::{Asking, Within};
use crate::scenario::Hold;
use futures::future::BoxFuture;

impl Perform for Hold {
    fn about(&self, _among: &Candidates<'_>) -> Option<About> {
        None
    }

    fn takes(&self, _among: &Candidates<'_>) -> Takes {
        Takes::exactly(self.0.duration())
    }

    fn rights(&self, _asking: &mut Asking, _here: Within<'_>, _moved: &Moved<'_>) {}

    fn perform<'a>(&'a self, stage: &'a Stage<'_>) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(stage.unless_cancelled(async {
            tokio::time::sleep(self.0.duration()).await;
            Ok(())
        }))
    }
}
