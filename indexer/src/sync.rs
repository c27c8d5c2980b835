//! A run: walk the folders, compare them with the ledger, read what is new, commit.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use pagesight_core::seam::PageSink;

use crate::discover::discover;
use crate::error::IndexError;
use crate::event::{Event, Summary};
use crate::ledger::Ledger;
use crate::options::{Engines, SyncOptions};
use crate::pipeline::Pipeline;

/// Brings `sink` in step with the PDFs below `roots` (folders, or single files): new and changed
/// documents are read, with vectors when there is an encoder; those with another name keep their
/// pages; those that are gone are dropped, unless a root or a folder within one
/// has none left ([`SyncOptions::drop_emptied`]). What other roots brought in stays. The ledger names
/// files relative to `base` where they are below it. `tell` hears what happens.
///
/// [`SyncOptions::stop`] ends the run early: what is encoded is committed, pages that wait for the
/// encoder are left to the next run. It waits for no page that is being drawn, read or encoded.
///
/// # Errors
/// [`IndexError`] for what ends a run. What happens to one document is in the ledger and in the
/// [`Summary`] instead. What was committed before an error is safe, and the next run goes on from
/// there.
pub fn sync(
    sink: &mut dyn PageSink,
    engines: &Engines,
    base: &Path,
    roots: &[PathBuf],
    options: &SyncOptions,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Summary, IndexError> {
    let discovery = discover(base, roots, options.links_out, &options.stop)?;
    for (path, reason) in &discovery.unreadable {
        let text = format!("cannot read {} ({reason}); nothing below is dropped", path.display());
        tell(Event::Warning { text });
    }
    let ledger = read_ledger(sink)?;
    let is_stopped = || options.stop.load(Ordering::Relaxed);
    let mut pipeline = Pipeline::new(sink, engines, options, &ledger, tell);
    let jobs = pipeline.plan(&discovery);
    if !jobs.is_empty() && !is_stopped() {
        pipeline.read_all(jobs)?;
    }
    pipeline.finish(&discovery, base)
}

/// The records of the store, by path.
fn read_ledger(sink: &mut dyn PageSink) -> Result<Ledger, IndexError> {
    let records = sink.documents().map_err(IndexError::Store)?;
    Ok(records.into_iter().map(|record| (record.path.clone(), record)).collect())
}
