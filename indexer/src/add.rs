//! Documents whose vectors were made elsewhere.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pagesight_core::seam::{Batch, PageSink, PdfDocument, PdfError};
use pagesight_core::{
    DocumentId, DocumentRecord, DocumentStatus, EncodedPage, Failure, FailureKind, ModelRecord,
    PageFailure, PageRecord,
};

use crate::discover::Found;
use crate::error::AddError;
use crate::ledger;
use crate::options::{Engines, SyncOptions};
use crate::reading::{read_file, read_words, text_note};
use crate::recognise::recognise;

/// Adds the PDF `file` to `sink` with vectors that the caller brings: `pages` has those of each
/// page of the document, in order, made with `model`. The words come from the PDF, and with
/// [`Engines::ocr`] from pages that have none of their own; [`Engines::encoder`] is not asked. A
/// document that is in the index already is replaced. All of it is committed at once.
///
/// Of `options` the limits on bytes and the stop flag count.
///
/// # Errors
/// [`AddError`]; nothing is committed then. A page that the PDF reader fails on is no error unless
/// all are: the record that comes back names it.
pub fn add(
    sink: &mut dyn PageSink,
    engines: &Engines,
    base: &Path,
    file: &Path,
    model: &ModelRecord,
    pages: Vec<EncodedPage>,
    options: &SyncOptions,
) -> Result<DocumentRecord, AddError> {
    let path = || file.to_path_buf();
    check_vectors(file, model, &pages)?;
    let ledger = sink.documents().map_err(AddError::Store)?;
    let other = ledger.iter().filter_map(|record| record.model.as_ref()).find(|m| **m != model.id);
    if let Some(expected) = other {
        return Err(AddError::Model { expected: expected.clone(), got: model.id.clone() });
    }
    let found = Found::at(base, file).map_err(|source| AddError::File { path: path(), source })?;
    let of_document = |failure| AddError::Document { path: path(), failure };
    let bytes = read_file(&found, options.limits.file_bytes).map_err(of_document)?;
    let document = DocumentId::of(&bytes);
    let opened = engines.pdf.open(document, Arc::new(bytes), &options.stop);
    let mut pdf = opened.map_err(|error| match error {
        PdfError::Failed(failure) => of_document(failure),
        error => AddError::Pdf(error),
    })?;
    let page_count = pdf.page_count();
    if page_count == 0 {
        return Err(of_document(Failure::new(FailureKind::Damaged, "the PDF has no pages")));
    }
    if pages.len() != page_count as usize {
        return Err(AddError::Pages { path: path(), expected: page_count, got: pages.len() });
    }
    let (title, model) = (pdf.title().map(String::from), Some(model.id.clone()));
    let mut record = ledger::opened(&found, document, page_count, title, model, None);
    pdf.notes().iter().for_each(|note| ledger::note(&mut record, note.clone()));
    let mut read = Vec::with_capacity(pages.len());
    for (number, encoded) in (1..).zip(pages) {
        let page = read_page(&mut *pdf, number, &mut record, engines, options);
        if options.stop.load(Ordering::Relaxed) {
            return Err(AddError::Stopped { path: path() });
        }
        match page {
            Ok(page) => {
                let (vectors, layout) = encoded.into_parts();
                ledger::page_indexed(&mut record, number);
                read.push(PageRecord { vectors: Some(vectors), layout: Some(layout), ..page });
            }
            Err(PdfError::Failed(failure)) => {
                ledger::page_failed(&mut record, PageFailure::new(number, failure));
            }
            Err(error) => return Err(AddError::Pdf(error)),
        }
    }
    let record = ledger::closed(record);
    if record.status == DocumentStatus::Failed {
        return Err(of_document(record.failure.expect("a failed document says why")));
    }
    // The document may be known by other names too, whose pages these are from now on.
    let copies =
        ledger.iter().filter(|other| other.document == Some(document) && other.path != record.path);
    let copies = copies.map(|copy| {
        let DocumentRecord { path, bytes, modified_ns, .. } = copy.clone();
        DocumentRecord { path, bytes, modified_ns, ..record.clone() }
    });
    let batch = Batch {
        documents: copies.chain([record.clone()]).collect(),
        dropped_pages: vec![document],
        pages: read,
        ..Batch::default()
    };
    sink.commit(batch).map_err(AddError::Store)?;
    Ok(record)
}

/// Reads the words of a page, and notes in `record` what a person should know of them.
fn read_page(
    pdf: &mut dyn PdfDocument,
    number: u32,
    record: &mut DocumentRecord,
    engines: &Engines,
    options: &SyncOptions,
) -> Result<PageRecord, PdfError> {
    let mut page = read_words(pdf, number, options.limits.text_bytes)?;
    if page.cut {
        ledger::note(record, text_note(number, &options.limits));
    }
    if let Some(ocr) = &engines.ocr
        && let Some(note) = recognise(pdf, &mut page, &**ocr, &options.stop)?.note
    {
        ledger::note(record, note);
    }
    let document = record.document.expect("opened with its document");
    Ok(page.into_record(document))
}

/// Checks what the types do not hold: the length of rows, and that each has length 1.
fn check_vectors(file: &Path, model: &ModelRecord, pages: &[EncodedPage]) -> Result<(), AddError> {
    for (page, encoded) in (1..).zip(pages) {
        let (vectors, path) = (encoded.vectors(), file.to_path_buf());
        let (expected, got) = (model.dim, vectors.dim());
        if got != expected {
            return Err(AddError::Dim { path, page, expected, got });
        }
        vectors.check_unit().map_err(|source| AddError::Vectors { path, page, source })?;
    }
    Ok(())
}
