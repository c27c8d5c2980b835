//! The write path as the library offers it: the indexer over this index's store, reader and model.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pagesight_core::EncodedPage;
use pagesight_core::seam::{Batch, PageEncoder, PageSink};
use pagesight_indexer::{Engines, Event, IndexError, Summary, SyncOptions};
use pagesight_store::{ANALYSIS, StoreError, Writer};

use crate::engine::Engine;
use crate::error::Error;

/// Brings the index in step with the PDFs below `folders`.
pub(crate) fn sync(
    engine: &Engine,
    folders: &[PathBuf],
    options: &SyncOptions,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Summary, Error> {
    let model = engine.page_model()?;
    let record = model.as_ref().map(|model| model.record());
    let view = engine.latest()?;
    if view.reader.snapshot().analysis() != ANALYSIS {
        let text = format!(
            "an earlier version analysed the words of this index: those of {} pages are analysed \
             anew, from the texts that are stored",
            view.reader.snapshot().pages()
        );
        tell(Event::Warning { text });
    }
    drop(view);
    let encoder = model.map(|model| model as Arc<dyn PageEncoder>);
    let engines = engines(engine, options, encoder)?;
    let mut writer = Writer::open(&engine.folder)?;
    if let Some(record) = record {
        writer.set_model(record)?;
    }
    let mut hear = |event: Event<'_>| {
        #[cfg(feature = "pdf")]
        if matches!(event, Event::Committed { .. }) {
            // Between commits a long run would keep what the allocator holds on to.
            pagesight_pdf::give_back_memory();
        }
        tell(event);
    };
    let outcome =
        pagesight_indexer::sync(&mut writer, &engines, &engine.base, folders, options, &mut hear);
    // A run that was asked to stop does not begin to join files.
    let joined = match &outcome {
        Ok(summary) if !summary.interrupted => writer.maintain(&options.stop).map(drop),
        _ => Ok(()),
    };
    engine.refresh()?;
    // This index held the snapshot from before the run; what that kept goes when it can.
    let _ = writer.collect_garbage();
    drop(writer);
    let mut summary = outcome?;
    match joined {
        Err(StoreError::Interrupted { .. }) => summary.interrupted = true,
        // All is committed; the next run joins the files.
        Err(error @ StoreError::DiskFull { .. }) => {
            tell(Event::Warning { text: format!("small files are not joined: {error}") });
        }
        joined => joined?,
    }
    Ok(summary)
}

/// Takes in one PDF with vectors that were made elsewhere.
pub(crate) fn add(engine: &Engine, pdf: &Path, pages: Vec<EncodedPage>) -> Result<(), Error> {
    let record = engine.query_model()?.ok_or(Error::NoModel)?.record();
    let options = SyncOptions::default();
    let engines = engines(engine, &options, None)?;
    let mut writer = Writer::open(&engine.folder)?;
    writer.set_model(record.clone())?;
    let (base, options) = (&engine.base, &options);
    pagesight_indexer::add(&mut writer, &engines, base, pdf, &record, pages, options)?;
    drop(writer);
    engine.refresh()
}

/// Drops paths from the ledger.
pub(crate) fn remove(engine: &Engine, paths: &[String]) -> Result<(), Error> {
    let mut writer = Writer::open(&engine.folder)?;
    writer.commit(Batch { dropped_paths: paths.to_vec(), ..Batch::default() }).map_err(
        |error| match error.downcast::<StoreError>() {
            Ok(error) => Error::Store(*error),
            Err(error) => Error::Index(IndexError::Store(error)),
        },
    )?;
    drop(writer);
    engine.refresh()
}

/// What a run reads with.
fn engines(
    engine: &Engine,
    options: &SyncOptions,
    encoder: Option<Arc<dyn PageEncoder>>,
) -> Result<Engines, Error> {
    let languages = options.ocr_languages.as_deref();
    let ocr = languages.and_then(|languages| engine.ocr(languages));
    Ok(Engines { pdf: engine.reader()?, ocr, encoder })
}
