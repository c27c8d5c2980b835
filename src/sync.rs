//! The write path as the library offers it: the indexer over this index's store, reader and model.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pagesight_core::seam::{Batch, BoxError, Model, PageEncoder, PageSink, PassageEncoder};
use pagesight_core::{DocumentRecord, EncodedPage, ModelRecord};
use pagesight_indexer::{Engines, Event, IndexError, Summary, SyncOptions};
use pagesight_maxsim::Neutral;
use pagesight_store::{ANALYSIS, LazyNeutral, StoreError, Writer};

use crate::engine::{Engine, Meaning, locked};
use crate::error::Error;
use crate::meaning;

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
    let encoder_of_questions = model.clone();
    let encoder = model.map(|model| model as Arc<dyn PageEncoder>);
    let engines = engines(engine, options, encoder)?;
    let embedder = meaning::encoder(engine, tell);
    let mut writer = Writer::open(&engine.folder)?;
    if let Some(record) = record {
        writer.set_neutral(neutral(&engine.neutral, encoder_of_questions, &record));
        writer.set_model(record)?;
    }
    if matches!(engine.meaning(), Meaning::Off) {
        writer.set_embedder(None)?;
    }
    let tell = RefCell::new(tell);
    let hear = |event: Event<'_>| {
        #[cfg(feature = "pdf")]
        if matches!(event, Event::Committed { .. }) {
            // Between commits a long run would keep what the allocator holds on to.
            pagesight_pdf::give_back_memory();
        }
        (tell.borrow_mut())(event);
    };
    let mut embedding = Embedding {
        writer: &mut writer,
        encoder: embedder.as_deref(),
        options,
        tell: &hear,
        took: Duration::ZERO,
    };
    let base = &engine.base;
    let outcome =
        pagesight_indexer::sync(&mut embedding, &engines, base, folders, options, &mut &hear);
    // What a run that was asked to stop leaves to be done, the next one does.
    let stopped = !matches!(&outcome, Ok(summary) if !summary.interrupted);
    let embedded = if stopped { Ok(true) } else { embedding.embed() };
    let meaning = embedding.took;
    let joined = match &embedded {
        Ok(false) => writer.maintain(&options.stop).map(drop),
        _ => Ok(()),
    };
    engine.refresh()?;
    // This index held the snapshot from before the run; what that kept goes when it can.
    let _ = writer.collect_garbage();
    drop(writer);
    let mut summary = outcome?;
    summary.stages.meaning = meaning;
    summary.interrupted |= embedded?;
    match joined {
        Err(StoreError::Interrupted { .. }) => summary.interrupted = true,
        // All is committed; the next run joins the files.
        Err(error @ StoreError::DiskFull { .. }) => {
            hear(Event::Warning { text: format!("small files are not joined: {error}") });
        }
        joined => joined?,
    }
    Ok(summary)
}

/// An index that is written, and the meaning of its texts, which follows them: when all documents have
/// been looked at, so that they are found by it while pages are still read by OCR, and in the end.
struct Embedding<'a> {
    writer: &'a mut Writer,
    encoder: Option<&'a dyn PassageEncoder>,
    options: &'a SyncOptions,
    tell: &'a dyn Fn(Event<'_>),
    /// The time that the meaning took.
    took: Duration,
}

impl Embedding<'_> {
    /// Returns whether it was interrupted.
    fn embed(&mut self) -> Result<bool, Error> {
        let start = Instant::now();
        let mut tell = |event: Event<'_>| (self.tell)(event);
        let outcome = meaning::embed(self.writer, self.encoder, self.options, &mut tell);
        self.took += start.elapsed();
        outcome
    }
}

impl PageSink for Embedding<'_> {
    fn documents(&mut self) -> Result<Vec<DocumentRecord>, BoxError> {
        self.writer.documents()
    }

    fn commit(&mut self, batch: Batch) -> Result<(), BoxError> {
        self.writer.commit(batch)
    }

    fn looked(&mut self) -> Result<(), BoxError> {
        Ok(self.embed().map(drop)?)
    }
}

/// Takes in one PDF with vectors that were made elsewhere.
pub(crate) fn add(engine: &Engine, pdf: &Path, pages: Vec<EncodedPage>) -> Result<(), Error> {
    let model = match engine.query_model() {
        // Who brings the vectors need not bring what made them: the index says whose they are.
        Err(Error::ModelNotBrought { .. }) => None,
        found => Some(found?.ok_or(Error::NoModel)?),
    };
    let record = match &model {
        Some(model) => model.record(),
        None => engine.model_record().ok_or(Error::NoModel)?,
    };
    let options = SyncOptions::default();
    let engines = engines(engine, &options, None)?;
    let mut writer = Writer::open(&engine.folder)?;
    writer.set_neutral(neutral(&engine.neutral, model.clone(), &record));
    writer.set_model(record.clone())?;
    let (base, options) = (&engine.base, &options);
    pagesight_indexer::add(&mut writer, &engines, base, pdf, &record, pages, options)?;
    drop(writer);
    engine.refresh()
}

/// The neutral questions of a model: pages are measured with them when they are coded. Those of a
/// model that encodes no questions, e.g. one whose vectors are made elsewhere, measure nothing. Once
/// encoded they are `kept`.
pub(crate) fn neutral(
    kept: &Arc<Mutex<Option<Neutral>>>,
    model: Option<Arc<dyn Model>>,
    record: &ModelRecord,
) -> Option<LazyNeutral> {
    let model = model?;
    neutral_by(kept, record, move || Some(model))
}

/// As [`neutral`], of a model that is loaded when the questions are needed; `None` from `load` where it
/// cannot be.
pub(crate) fn neutral_by(
    kept: &Arc<Mutex<Option<Neutral>>>,
    record: &ModelRecord,
    load: impl FnOnce() -> Option<Arc<dyn Model>> + Send + 'static,
) -> Option<LazyNeutral> {
    let questions = record.neutral.questions.clone();
    if questions.is_empty() {
        return None;
    }
    let name = format!("{} {}", record.id, questions.join(" "));
    let kept = Arc::clone(kept);
    Some(LazyNeutral::new(&name, move |name| {
        let mut kept = locked(&kept);
        if let Some(known) = kept.as_ref().filter(|known| known.id() == Neutral::id_of(name)) {
            return Some(known.clone());
        }
        let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
        *kept = Neutral::new(name, &load()?.encode_queries(&questions).ok()?);
        kept.clone()
    }))
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
    let ocr = engine.ocr(options.ocr, options.ocr_languages.as_deref())?;
    Ok(Engines { pdf: engine.reader()?, ocr, encoder })
}
