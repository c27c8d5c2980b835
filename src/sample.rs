//! The vectors of a few pages that a plan names, read and encoded to be looked at, not to be kept.

use std::path::Path;
use std::time::Duration;

use pagesight_core::seam::{Batch, BoxError, PageSink};
use pagesight_core::{DocumentRecord, OcrChoice, PageId, PageVectors};
use pagesight_indexer::{BatchSize, Engines, IndexError, Limits, SyncOptions, read_files};

/// Pages that are read of each document.
const PAGES: u32 = 2;

/// The vectors of the first pages of the documents that the ledger calls `paths`, below `base`; `None`
/// when the run was stopped before they were all read. A document that cannot be read has none: its
/// shard will tell.
///
/// # Errors
/// [`IndexError`] for what ends a run, such as an encoder that fails.
pub(crate) fn vectors(
    engines: &Engines,
    base: &Path,
    paths: &[String],
    options: &SyncOptions,
) -> Result<Option<Vec<(PageId, PageVectors)>>, IndexError> {
    let whole = Duration::from_secs(u64::MAX);
    let options = SyncOptions {
        // Words are not looked at.
        ocr: OcrChoice::Off,
        limits: Limits { pages: PAGES.min(options.limits.pages), ..options.limits.clone() },
        batch: BatchSize { pages: usize::MAX, bytes: usize::MAX, time: whole },
        ..options.clone()
    };
    let engines = Engines { ocr: None, ..engines.clone() };
    let mut looked_at = LookedAt::default();
    let summary = read_files(&mut looked_at, &engines, base, paths, &options, &mut |_| {})?;
    Ok((!summary.interrupted).then_some(looked_at.0))
}

/// Takes the vectors of pages, and nothing else.
#[derive(Default)]
struct LookedAt(Vec<(PageId, PageVectors)>);

impl PageSink for LookedAt {
    fn documents(&mut self) -> Result<Vec<DocumentRecord>, BoxError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, batch: Batch) -> Result<(), BoxError> {
        self.0.extend(batch.pages.into_iter().filter_map(|page| Some((page.id, page.vectors?))));
        Ok(())
    }
}
