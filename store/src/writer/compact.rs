//! An index becomes compact: residual codes take the place of full-precision vectors.

use std::future::ready;
use std::sync::{Arc, Mutex};

use futures::StreamExt;

use super::AsyncWriter;
use crate::codes::neutral::LazyNeutral;
use crate::codes::{damage, derive};
use crate::error::StoreError;
use crate::lance::schema::{Rows, TEXT_COLUMNS, pages_batch, pages_schema};
use crate::snapshot::contents::Compact;
use crate::vectors::VectorStream;

impl AsyncWriter {
    /// Puts residual codes in the place of all full-precision vectors, from now on for pages that
    /// are added too. `cost` is what that was measured to lose. Returns false, and changes nothing,
    /// when the index is compact already or has no vectors.
    ///
    /// # Errors
    /// What cannot be read or written; the index is as it was.
    pub async fn compact(&mut self, cost: Compact) -> Result<bool, StoreError> {
        if self.snapshot.compact.is_some() {
            return Ok(false);
        }
        self.tables().await?;
        let before = self.snapshot.clone();
        let outcome = self.take_vectors_out(cost).await;
        if outcome.is_err() {
            (self.snapshot, self.open) = (before, None);
        }
        outcome
    }

    async fn take_vectors_out(&mut self, cost: Compact) -> Result<bool, StoreError> {
        let pages = &self.open.as_ref().expect("opened by compact").pages;
        let (once, again) = (
            VectorStream::of_table(pages, None).await?,
            VectorStream::of_table(pages, None).await?,
        );
        let (number, count) = (self.snapshot.number + 1, self.snapshot.pages);
        let measured = (count, self.neutral.as_ref().and_then(LazyNeutral::get));
        let coded = derive::compact(&self.folder, number, measured, once, again).await?;
        let Some(coded) = coded else { return Ok(false) };
        let (dim, path) = (self.snapshot.dim, pages.path.clone());
        let failed = Arc::new(Mutex::new(None));
        let (rows, failing) = (pages.read(&TEXT_COLUMNS, None).await?, Arc::clone(&failed));
        let words = rows.map(move |batch| {
            let read = batch.and_then(|batch| Rows { batch: &batch, path: &path }.pages());
            let read = read.map(|pages| pages_batch(dim, &pages));
            read.map_err(|error| *failing.lock().expect("no panic under the lock") = Some(error))
                .ok()
        });
        let words = words.take_while(|batch| ready(batch.is_some())).filter_map(ready);
        // A table needs a batch, be it empty.
        let first = futures::stream::iter([pages_batch(dim, &[])]);
        pages.overwrite(pages_schema(dim), first.chain(words)).await?;
        if let Some(error) = failed.lock().expect("no panic under the lock").take() {
            return Err(error);
        }
        self.snapshot.compact = Some(cost);
        self.publish_with(Some(vec![coded])).await?;
        damage::unmark(&self.folder);
        Ok(true)
    }
}
