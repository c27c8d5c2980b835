//! The write path as the library offers it: the indexer over this index's store, reader and model.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pagesight_core::EncodedPage;
use pagesight_core::seam::{Model, PageEncoder};
use pagesight_indexer::{Event, Summary, SyncOptions};
use pagesight_store::{StoreError, Writer};

use crate::engine::Engine;
use crate::error::Error;
use crate::open;

/// Brings the index in step with the PDFs below `folders`.
pub(crate) fn sync(
    engine: &Engine,
    folders: &[PathBuf],
    options: &SyncOptions,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Summary, Error> {
    let model = engine.page_model()?;
    let reader = engine.reader()?;
    let ocr = options.ocr_languages.as_deref().and_then(|languages| {
        engine.ocr().or_else(|| open::ocr(languages))
    });
    let mut writer = Writer::open(&engine.folder)?;
    if let Some(model) = &model {
        writer.set_model(model.record())?;
    }
    let encoder = model.map(|model| model as Arc<dyn PageEncoder>);
    let sources = pagesight_indexer::Sources { base: engine.base.clone(), roots: folders.to_vec(), reader, ocr, encoder };
    let outcome = pagesight_indexer::sync(&mut writer, &sources, options, tell);
    // A run that was asked to stop does not begin to join files.
    let joined = match &outcome {
        Ok(summary) if !summary.interrupted => writer.maintain(&options.stop).map(drop),
        _ => Ok(()),
    };
    engine.refresh()?;
    // This index held the snapshot from before the run.
    let _ = writer.sweep();
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
    let model = engine.query_model()?.ok_or(Error::NoModel)?;
    let reader = engine.reader()?;
    let mut writer = Writer::open(&engine.folder)?;
    writer.set_model(model.record())?;
    pagesight_indexer::add(&mut writer, &*reader, &engine.base, pdf, &model.record(), pages)?;
    drop(writer);
    engine.refresh()
}
