//! One document, read by one thread with one worker: its pages come out in order.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pagesight_core::{DocumentId, DocumentRecord, PageImage, PageSize, TextSource};

use crate::claims::{Claim, Claims};
use crate::discover::{Found, modified_ns};
use crate::ocr::{self, Ocr, is_blank, needs_ocr};
use crate::process::{Renderer, RendererError};
use crate::settings::Settings;

/// Workers that one document may wear out; a bomb on every page would take a limit's time each.
const MAX_WORKERS: usize = 4;

/// A page on its way to the encoder.
#[derive(Debug)]
pub struct PageRead {
    /// 1-based.
    pub number: u32,
    pub size: PageSize,
    pub text: String,
    pub text_source: TextSource,
    /// There is more text than the limit.
    pub text_cut: bool,
    /// The model's input.
    pub image: Option<PageImage>,
}

/// What a reading thread says of the document `path`.
#[derive(Debug)]
pub enum Message {
    /// It is open: what follows are pages from `first`.
    Opened {
        document: DocumentId,
        page_count: u32,
        title: Option<String>,
        /// What an interrupted run got to.
        before: Option<Box<DocumentRecord>>,
    },
    Page(PageRead),
    PageFailed {
        number: u32,
        reason: String,
    },
    /// A person should know.
    Note(String),
    /// No more pages.
    Finished,
    /// Nothing of it can be read.
    Failed {
        document: Option<DocumentId>,
        reason: String,
    },
    /// Its bytes are in the index already.
    Known(Box<DocumentRecord>),
    /// Its bytes are being read under another name.
    Duplicate(DocumentId),
}

/// A thread's means: one worker process, replaced when it ends or has served enough.
pub struct DocumentReader<'a> {
    pub settings: &'a Settings,
    pub claims: &'a Claims,
    pub ocr: Option<&'a Ocr>,
    /// Size of the model's input, px.
    pub input: Option<(u32, u32)>,
    pub renderer: Option<Renderer>,
    /// Set when the run is over: what is being drawn or read is given up.
    pub over: Arc<AtomicBool>,
}

/// The other side does not listen any more: the run is over.
#[derive(Debug)]
pub struct Closed;

type Tell<'a> = &'a mut dyn FnMut(Message) -> Result<(), Closed>;

impl DocumentReader<'_> {
    /// Reads `found` and tells what it finds, page by page.
    ///
    /// # Errors
    /// [`RendererError`] when no worker can be started at all, which ends the run.
    pub fn read(
        &mut self,
        found: &Found,
        tell: Tell<'_>,
    ) -> Result<Result<(), Closed>, RendererError> {
        let bytes = match read_file(found, self.settings.limits.file_bytes) {
            Ok(bytes) => bytes,
            Err(reason) => return Ok(tell(Message::Failed { document: None, reason })),
        };
        let document = DocumentId::of(&bytes);
        let before = match self.claims.claim(document) {
            Claim::Indexed(record) => return Ok(tell(Message::Known(record))),
            Claim::Taken => return Ok(tell(Message::Duplicate(document))),
            Claim::Yours(before) => before,
        };
        let mut worn_out = 0;
        let (page_count, title) = match self.open(&bytes, &mut worn_out)? {
            Ok(opened) => opened,
            Err(error) => {
                let reason = format!("{error}");
                return Ok(tell(Message::Failed { document: Some(document), reason }));
            }
        };
        if page_count == 0 {
            let reason = "the PDF has no pages".into();
            return Ok(tell(Message::Failed { document: Some(document), reason }));
        }
        let first = before.as_ref().map_or(1, |record| record.next_page.max(1));
        // Pages that were indexed once and lost to damage come first.
        let failed = before.iter().flat_map(|record| &record.failed_pages);
        let lost: Vec<u32> =
            failed.filter(|failure| failure.is_lost()).map(|failure| failure.page).collect();
        let last = page_count.min(self.settings.limits.pages);
        if let Err(closed) = tell(Message::Opened { document, page_count, title, before }) {
            return Ok(Err(closed));
        }
        if last < page_count {
            let note = format!(
                "{page_count} pages, only the first {last} are read: raise --max-pages for more"
            );
            if let Err(closed) = tell(Message::Note(note)) {
                return Ok(Err(closed));
            }
        }
        let mut cut = false;
        for number in lost.into_iter().chain(first..=last) {
            let message = match self.page(&bytes, number, &mut worn_out, tell)? {
                // Once a document: a bomb has it on every page.
                Ok(Ok(page)) if page.text_cut && !std::mem::replace(&mut cut, true) => {
                    let kb = self.settings.limits.text_bytes / 1000;
                    let note = format!(
                        "page {number} has more than {kb} KB of text, the rest is left out: raise \
                         --max-text for more"
                    );
                    if let Err(closed) = tell(Message::Note(note)) {
                        return Ok(Err(closed));
                    }
                    Message::Page(page)
                }
                Ok(Ok(page)) => Message::Page(page),
                Ok(Err(reason)) => Message::PageFailed { number, reason },
                Err(closed) => return Ok(Err(closed)),
            };
            if let Err(closed) = tell(message) {
                return Ok(Err(closed));
            }
            if worn_out >= MAX_WORKERS && number < last {
                let reason =
                    format!("not tried: {worn_out} workers ended on earlier pages of the document");
                for number in first.max(number + 1)..=last {
                    let reason = reason.clone();
                    if let Err(closed) = tell(Message::PageFailed { number, reason }) {
                        return Ok(Err(closed));
                    }
                }
                break;
            }
        }
        Ok(tell(Message::Finished))
    }

    /// Opens the document, in a new worker when the last one ended.
    fn open(
        &mut self,
        bytes: &[u8],
        worn_out: &mut usize,
    ) -> Result<Result<(u32, Option<String>), RendererError>, RendererError> {
        let settings = self.settings;
        let renderer = self.renderer.take().filter(|renderer| !renderer.has_served());
        let renderer = match renderer {
            Some(renderer) => renderer,
            None => Renderer::start(
                &settings.worker_program,
                &settings.pdfium,
                &settings.limits,
                settings.sandbox,
            )?,
        };
        let renderer = self.renderer.insert(renderer);
        renderer.end_when(Arc::clone(&self.over));
        let opened = renderer.open(bytes, &settings.passwords);
        if opened.as_ref().is_err_and(RendererError::is_fatal) {
            *worn_out += 1;
            self.renderer = None;
        }
        Ok(opened)
    }

    /// Reads one page, with OCR where it has no words of its own.
    fn page(
        &mut self,
        bytes: &[u8],
        number: u32,
        worn_out: &mut usize,
        tell: Tell<'_>,
    ) -> Result<Result<Result<PageRead, String>, Closed>, RendererError> {
        if self.renderer.is_none()
            && let Err(error) = self.open(bytes, worn_out)?
        {
            return Ok(Ok(Err(error.to_string())));
        }
        let renderer = self.renderer.as_mut().expect("opened above");
        let drawing = match renderer.read(number, self.input) {
            Ok(drawing) => drawing,
            Err(error) => return Ok(Ok(Err(self.failed(error, worn_out)))),
        };
        let mut page = PageRead {
            number,
            size: drawing.size,
            text_source: match drawing.text.trim().is_empty() {
                true => TextSource::None,
                false => TextSource::Layer,
            },
            text: drawing.text,
            text_cut: drawing.text_cut,
            image: drawing.image,
        };
        if let Some(ocr) = self.ocr.filter(|_| needs_ocr(&page.text)) {
            match renderer.scan(number, ocr::DPI) {
                Ok(image) if is_blank(&image) => {}
                Ok(image) => match ocr.read(&image, &self.over) {
                    Ok(text) if text.len() > page.text.trim().len() => {
                        page.text = text;
                        page.text_source = TextSource::Ocr;
                    }
                    Ok(_) => {}
                    Err(reason) => {
                        if let Err(closed) = tell(Message::Note(format!("page {number}: {reason}")))
                        {
                            return Ok(Err(closed));
                        }
                    }
                },
                Err(error) => {
                    let reason = self.failed(error, worn_out);
                    let note = format!("page {number} could not be drawn for OCR: {reason}");
                    if let Err(closed) = tell(Message::Note(note)) {
                        return Ok(Err(closed));
                    }
                }
            }
        }
        Ok(Ok(Ok(page)))
    }

    fn failed(&mut self, error: RendererError, worn_out: &mut usize) -> String {
        if error.is_fatal() {
            *worn_out += 1;
            self.renderer = None;
        }
        error.to_string()
    }
}

/// The bytes of a file that is within `limit` and still what the walk saw. `Err` is one line for
/// a person.
fn read_file(found: &Found, limit: u64) -> Result<Vec<u8>, String> {
    if found.bytes > limit {
        return Err(too_large(found.bytes, limit));
    }
    let read = |path: &PathBuf| -> std::io::Result<(Vec<u8>, std::fs::Metadata)> {
        let file = File::open(path)?;
        let mut bytes = Vec::with_capacity(found.bytes as usize + 1);
        // A file that grows while it is read is cut at the limit and refused below.
        (&file).take(limit + 1).read_to_end(&mut bytes)?;
        Ok((bytes, file.metadata()?))
    };
    match read(&found.file) {
        Ok((bytes, _)) if bytes.len() as u64 > limit => Err(too_large(bytes.len() as u64, limit)),
        Ok((bytes, meta))
            if bytes.len() as u64 != found.bytes || modified_ns(&meta) != found.modified_ns =>
        {
            Err("changed while it was read: run again".into())
        }
        Ok((bytes, _)) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err("vanished before it was read".into())
        }
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

fn too_large(bytes: u64, limit: u64) -> String {
    let mb = |bytes: u64| bytes.div_ceil(1 << 20);
    format!("{} MB, more than the limit of {} MB (--max-file-size)", mb(bytes), mb(limit))
}
