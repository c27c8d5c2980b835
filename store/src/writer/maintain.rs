//! Maintenance: small files are joined, codes derived again, garbage removed.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{AsyncWriter, FEW_FILES, OpenTables};
use crate::codes::neutral::LazyNeutral;
use crate::codes::residual::only_copy;
use crate::codes::{damage, derive, join, segments};
use crate::error::StoreError;
use crate::lance::addresses;
use crate::snapshot::garbage::{Collected, collect};
use crate::vectors::VectorStream;

/// Small files of a table that are left alone while a run goes on.
const MANY_FILES: usize = 64;

/// How often long work looks whether it should stop.
const TICK: Duration = Duration::from_millis(50);

impl AsyncWriter {
    /// Joins small files and drops rows and words of pages that are gone, where there is enough of
    /// either; derives codes again that are damaged; removes files that no snapshot in use names.
    /// Ends early when `stop` is set.
    ///
    /// # Errors
    /// [`StoreError::Interrupted`], and whatever cannot be written; the index is as it was.
    pub async fn maintain(&mut self, stop: &AtomicBool) -> Result<Collected, StoreError> {
        let damaged = damage::is_marked(&self.folder) && self.snapshot.compact.is_none();
        let tables = self.tables().await?;
        let joining = tables.need_joining().await?;
        if damaged || self.measured_by_others() {
            self.snapshot.codes = None;
        }
        if joining || self.codes_need_joining() || self.passages_need_joining() {
            let outcome = self.join_all(joining, stop).await;
            if let Err(error) = outcome {
                self.open = None;
                let most = self.snapshot.files.values().map(|mark| mark.bytes).sum();
                return Err(self.with_space(error, most));
            }
            if damaged {
                damage::unmark(&self.folder);
            }
        }
        self.collect_garbage()
    }

    /// Whether what pages give to neutral questions was not measured by those of today. It is
    /// measured with the codes, from the vectors that are stored. A compact index has no others than
    /// its codes, which stay as they are.
    fn measured_by_others(&self) -> bool {
        let Some(neutral) = self.neutral.as_ref().filter(|_| self.snapshot.compact.is_none())
        else {
            return false;
        };
        let names = self.snapshot.codes.as_deref().unwrap_or_default();
        let by_others = segments::open(&self.folder, names).is_ok_and(|codes| {
            let by = |slot| codes.background(slot).map(|background| background.of);
            codes.living().iter().any(|slot| by(slot) != Some(neutral.id()))
        });
        // What cannot be encoded measures nothing.
        by_others && neutral.get().is_some()
    }

    /// Whether the vectors are not coded yet, or in many segments.
    fn codes_need_joining(&self) -> bool {
        self.snapshot.codes.as_ref().is_none_or(|names| names.len() > FEW_FILES)
    }

    async fn join_all(&mut self, tables_too: bool, stop: &AtomicBool) -> Result<(), StoreError> {
        if tables_too {
            let tables = self.open.as_mut().expect("opened by maintain");
            unless_stopped(stop, "joining files", tables.join_files()).await?;
        }
        let codes = self.joined_codes().await?;
        let before = (self.snapshot.passages.clone(), self.snapshot.addresses.clone());
        self.join_passages()?;
        let mut outcome = self.renew_addresses().await;
        if outcome.is_ok() {
            outcome = self.publish_with(Some(codes)).await;
        }
        if outcome.is_err() {
            (self.snapshot.passages, self.snapshot.addresses) = before;
        }
        outcome
    }

    /// Notes where the rows of pages lie, where the index is large and this is not known of many.
    async fn renew_addresses(&mut self) -> Result<(), StoreError> {
        let tables = self.open.as_ref().expect("opened by maintain");
        let name = format!("{}.rows", self.snapshot.number + 1);
        if addresses::renew(&self.folder, &self.snapshot, &tables.pages, &name).await? {
            self.snapshot.addresses = Some(name);
        }
        Ok(())
    }

    /// Joins small segments of codes; derives all again from the tables when there are none yet
    /// or they cannot be read.
    async fn joined_codes(&mut self) -> Result<Vec<String>, StoreError> {
        if let Some(named) = &self.snapshot.codes {
            let number = self.snapshot.number + 1;
            match join::join(&self.folder, named, number) {
                Err(StoreError::Codes { .. }) if self.snapshot.compact.is_none() => {}
                joined => return joined.map_err(only_copy),
            }
        }
        self.derive_codes().await
    }

    /// Codes the vectors of all pages anew; the names of the segments.
    pub(crate) async fn derive_codes(&self) -> Result<Vec<String>, StoreError> {
        let tables = self.open.as_ref().expect("open for writing");
        let vectors = VectorStream::of_table(&tables.pages, None).await?;
        let number = self.snapshot.number + 1;
        let measured = (self.snapshot.dim, self.neutral.as_ref().and_then(LazyNeutral::get));
        derive::derive(&self.folder, number, measured, vectors).await
    }

    /// Removes files that no snapshot in use names. Says what was removed since the writer was
    /// opened.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn collect_garbage(&mut self) -> Result<Collected, StoreError> {
        let collected = collect(&self.folder, &self.snapshot)?;
        self.collected.files += collected.files;
        self.collected.bytes += collected.bytes;
        self.collected.held = collected.held;
        Ok(self.collected)
    }
}

impl OpenTables {
    /// Whether a run goes on so long that its small files should be joined before its end.
    pub async fn have_many_files(&self) -> bool {
        let pages = self.pages.shape().await.map_or(0, |shape| shape.small_files);
        let documents = self.documents.shape().await.map_or(0, |shape| shape.small_files);
        pages.max(documents).max(self.text.segments().unwrap_or(0)) > MANY_FILES
    }

    async fn need_joining(&self) -> Result<bool, StoreError> {
        let (documents, pages) = (self.documents.shape().await?, self.pages.shape().await?);
        Ok(documents.wants_compaction(FEW_FILES)
            || pages.wants_compaction(FEW_FILES)
            || self.text.wants_merge(FEW_FILES)?)
    }

    async fn join_files(&mut self) -> Result<(), StoreError> {
        // The ledger is small, and changes most.
        if self.documents.shape().await?.wants_compaction(1) {
            self.documents.compact().await?;
        }
        if self.pages.shape().await?.wants_compaction(FEW_FILES) {
            self.pages.compact().await?;
        }
        self.text.merge(FEW_FILES).await
    }
}

/// Waits for `work`, or gives it up when `stop` is set.
async fn unless_stopped<T>(
    stop: &AtomicBool,
    action: &'static str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let mut work = pin!(work);
    loop {
        match tokio::time::timeout(TICK, &mut work).await {
            Ok(outcome) => return outcome,
            Err(_) if stop.load(Ordering::Relaxed) => {
                return Err(StoreError::Interrupted { action });
            }
            Err(_) => {}
        }
    }
}
