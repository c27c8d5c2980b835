//! A part of an index: what it answers a router.

use std::sync::Arc;

use crate::engine::{Engine, locked};
use crate::error::Error;
use crate::index::Index;
use crate::parts::{Ask, OtherSnapshot, Reply};
use crate::view::View;

impl Index {
    /// Answers what a router asks of snapshot `number`, from the pages of this part. A number that is
    /// newer than what was seen is looked for at once.
    ///
    /// # Errors
    /// [`Error::OtherSnapshot`] for one that is not here, [`Error::Query`] for what cannot be read.
    pub fn answer_part(&self, number: u64, ask: &Ask) -> Result<Reply, Error> {
        let view = self.engine().numbered(number)?;
        let reply = view.part().answer(&view.part_sources(), ask)?;
        if reply.is_damaged() {
            // What is here is fetched again with the next look for a newer snapshot.
            view.reader.report_damaged_codes();
        }
        Ok(reply)
    }
}

impl Engine {
    /// The snapshot `number`.
    fn numbered(&self, number: u64) -> Result<Arc<View>, Error> {
        if number > self.seen().number() {
            self.refresh()?;
        }
        let seen = self.seen();
        if seen.number() == number {
            return Ok(seen);
        }
        let (wanted, newest) = (number, seen.number());
        let former = locked(&self.former).numbered(number);
        former.ok_or(Error::OtherSnapshot(OtherSnapshot { wanted, newest }))
    }
}
