//! A document that a worker has open, and the copies of it that some pages need.

use std::cell::{OnceCell, RefCell};
use std::collections::HashSet;

use pagesight_core::{Attachment, Failure, FailureKind};

use crate::facts::Facts;
use crate::layers::HiddenAnnotations;
use crate::protocol::{MAX_ATTACHMENTS, MAX_NAME};
use crate::raw::{Annotation, AttachedFile, Document, Library, OpenError, Page};

/// An open document.
pub struct Opened<'l> {
    library: Library<'l>,
    bytes: &'l [u8],
    password: Option<String>,
    pub document: Document<'l>,
    pub facts: Facts<'l>,
    /// Whose pages may be changed.
    copy: OnceCell<Option<Document<'l>>>,
    /// Whose fonts are ours where it brings none.
    with_letters: OnceCell<Option<Document<'l>>>,
    /// Pages of the copy that annotations were made part of.
    flattened: RefCell<HashSet<u32>>,
    /// What is attached to it.
    files: OnceCell<Vec<File>>,
    /// Annotations that its layers hide.
    hidden: OnceCell<HiddenAnnotations>,
}

impl<'l> Opened<'l> {
    /// Opens `bytes` without a password or with the first of `passwords` that fits.
    pub fn open(
        library: Library<'l>,
        bytes: &'l [u8],
        passwords: &[String],
    ) -> Result<Self, Failure> {
        let tries = std::iter::once(None).chain(passwords.iter().map(|p| Some(p.as_str())));
        for password in tries {
            match library.open(bytes, password) {
                Ok(document) => {
                    return Ok(Self {
                        library,
                        bytes,
                        password: password.map(String::from),
                        document,
                        facts: Facts::of(bytes),
                        copy: OnceCell::new(),
                        with_letters: OnceCell::new(),
                        flattened: RefCell::default(),
                        files: OnceCell::new(),
                        hidden: OnceCell::new(),
                    });
                }
                Err(OpenError::Password) => {}
                Err(error) => return Err(not_opened(error, bytes)),
            }
        }
        let reason = match passwords {
            [] => "encrypted, and no password was given",
            _ => "encrypted, and none of the passwords given fits",
        };
        Err(Failure::new(FailureKind::Encrypted, reason))
    }

    /// The document's title, when its metadata has a readable one.
    pub fn title(&self) -> Option<String> {
        let title = self.document.metadata("Title");
        let title: String = title.chars().filter(|c| !c.is_control()).take(300).collect();
        Some(title.trim().to_string()).filter(|title| !title.is_empty())
    }

    /// The document once more, to change its pages in memory.
    pub fn copy(&self) -> Option<&Document<'l>> {
        self.copy.get_or_init(|| self.open_again()).as_ref()
    }

    /// The document once more, for pages that are drawn with the letters of our font: what pdfium
    /// knows of fonts belongs to one document.
    pub fn with_letters(&self) -> Option<&Document<'l>> {
        self.with_letters.get_or_init(|| self.open_again()).as_ref()
    }

    /// Keeps annotations on layers that are off from being displayed on page `number` (1-based) of
    /// the document or of a copy of it.
    pub fn hide_annotations(&self, page: &Page<'_>, number: u32) {
        let annotations = page.annotations(MAX_LAYERED);
        if annotations.iter().any(|annotation| annotation.has("OC")) {
            let hidden = self.hidden.get_or_init(|| HiddenAnnotations::of(&self.facts));
            let is_hidden =
                |annotation: &&Annotation<'_>| hidden.has(number, annotation.index() as usize);
            annotations.iter().filter(is_hidden).for_each(Annotation::hide);
        }
    }

    /// What a person should know of the document, a line each: that what is displayed of it is not
    /// all that there is.
    pub fn notes(&self) -> Vec<String> {
        const XFA: i32 = 2;
        const ACROFORM_AND_XFA: i32 = 3;
        const WIDGET: i32 = 20;
        let has_no_fields = || {
            self.document.page(0).is_none_or(|page| {
                page.annotations(1000).iter().all(|annotation| annotation.subtype() != WIDGET)
            })
        };
        let mut notes = Vec::new();
        let form = self.document.form_type();
        if form == XFA || (form == ACROFORM_AND_XFA && has_no_fields()) {
            notes.push(
                "an XFA form, which cannot be read: its pages hold only what programs without XFA \
                 show in its place"
                    .into(),
            );
        }
        let attached = self.files();
        let listed = self.document.attached_count() as usize;
        let count = attached.len() + listed.saturating_sub(MAX_LISTED);
        if count > 0 && self.facts.is_portfolio() {
            let files = if count == 1 { "file" } else { "files" };
            notes.push(format!("a portfolio: its pages are a cover for {count} attached {files}"));
        }
        let pdfs = attached.iter().filter(|file| file.is_pdf).take(MAX_ATTACHMENTS).count();
        if count > pdfs {
            let unread = count - pdfs;
            let (files, they) = if unread == 1 { ("file", "it") } else { ("files", "them") };
            let others = attached.iter().filter(|file| !file.is_pdf).take(MAX_NAMES);
            let named: Vec<String> =
                others.map(|file| file.name.chars().take(80).collect()).collect();
            let more = if unread > named.len() { ", ..." } else { "" };
            let names = named.join(", ");
            notes.push(format!(
                "{unread} attached {files} that cannot be read ({names}{more}): save {they} from a \
                 PDF viewer"
            ));
        }
        notes
    }

    /// The attached files that are PDFs by their names, or by what they say.
    pub fn attachments(&self) -> Vec<Attachment> {
        let all = self.files().iter().zip(0..);
        let pdfs = all.filter(|(file, _)| file.is_pdf).take(MAX_ATTACHMENTS);
        let fits = |name: &str| {
            let skipped = name.chars().count().saturating_sub(MAX_NAME);
            name.chars().skip(skipped).collect()
        };
        pdfs.map(|(file, index)| Attachment::new(index, fits(&file.name))).collect()
    }

    /// The files of the document: those that it lists, and after them those that annotations of its
    /// pages pin there and it does not list.
    fn files(&self) -> &[File] {
        self.files.get_or_init(|| {
            let listed = 0..self.document.attached_count().min(MAX_LISTED as u32);
            let at = |index| Some(File::of(&self.document.attached(index)?, Place::Listed(index)));
            let mut files: Vec<File> = listed.filter_map(at).collect();
            if !self.facts.has_pinned_files() {
                return files;
            }
            for number in 0..self.document.page_count().min(MAX_PAGES_WITH_FILES) {
                let Some(page) = self.document.page(number) else { continue };
                for annotation in page.annotations(MAX_LISTED) {
                    if annotation.subtype() != FILE_ATTACHMENT || files.len() >= MAX_LISTED {
                        continue;
                    }
                    let place = Place::Pinned { page: number, annotation: annotation.index() };
                    let file = annotation.attached().map(|file| File::of(&file, place));
                    let is_new = |file: &File| {
                        !files.iter().any(|f| (&f.name, f.bytes) == (&file.name, file.bytes))
                    };
                    files.extend(file.filter(is_new));
                }
            }
            files
        })
    }

    /// The bytes of attached file `index`, when there are at most `most` of them.
    pub fn attached(&self, index: u32, most: u64) -> Result<Vec<u8>, Failure> {
        let bytes = match self.files().get(index as usize).map(|file| &file.place) {
            None => Err(0),
            Some(&Place::Listed(index)) => {
                self.document.attached(index).ok_or(0).and_then(|file| file.bytes(most))
            }
            Some(&Place::Pinned { page, annotation }) => {
                let page = self.document.page(page);
                let annotations = page.as_ref().map(|page| page.annotations(MAX_LISTED));
                let mut annotations = annotations.into_iter().flatten();
                let found = annotations.find(|other| other.index() == annotation);
                let file = found.as_ref().and_then(|annotation| annotation.attached());
                file.ok_or(0).and_then(|file| file.bytes(most))
            }
        };
        bytes.map_err(|bytes| {
            if bytes == 0 {
                Failure::new(FailureKind::Damaged, "the attached file cannot be taken out")
            } else {
                let mb = |bytes: u64| bytes.div_ceil(1 << 20);
                let (is, most) = (mb(bytes), mb(most));
                let reason = format!("{is} MB attached, more than the limit of {most} MB");
                Failure::new(FailureKind::TooLarge, reason)
            }
        })
    }

    /// Whether page `number` of the copy is as it was; from now on it is not.
    pub fn is_first_flattening(&self, number: u32) -> bool {
        self.flattened.borrow_mut().insert(number)
    }

    fn open_again(&self) -> Option<Document<'l>> {
        self.library.open(self.bytes, self.password.as_deref()).ok()
    }
}

/// A page of more annotations is looked at so far for those on layers.
const MAX_LAYERED: usize = 5_000;

/// Names of attached files that a note says.
const MAX_NAMES: usize = 3;

/// Attached files that are looked at.
const MAX_LISTED: usize = 2_000;

/// Pages on which pinned files are looked for.
const MAX_PAGES_WITH_FILES: u32 = 200;

/// `FPDF_ANNOT_FILEATTACHMENT` of `fpdf_annot.h`.
const FILE_ATTACHMENT: i32 = 17;

/// A file within a document.
struct File {
    name: String,
    is_pdf: bool,
    bytes: Option<u64>,
    place: Place,
}

enum Place {
    /// In the list of the document, by its number from 0.
    Listed(u32),
    /// To a page (from 0), by an annotation.
    Pinned { page: u32, annotation: i32 },
}

impl File {
    fn of(file: &AttachedFile<'_>, place: Place) -> Self {
        let name = file.name();
        let is_pdf = is_pdf(&name) || file.media_type().eq_ignore_ascii_case("application/pdf");
        Self { name, is_pdf, bytes: file.size(), place }
    }
}

fn is_pdf(name: &str) -> bool {
    let name = name.trim_end();
    let end = name.len().saturating_sub(4);
    name.is_char_boundary(end) && name[end..].eq_ignore_ascii_case(".pdf")
}

fn not_opened(error: OpenError, bytes: &[u8]) -> Failure {
    let head = &bytes[..bytes.len().min(1024)];
    let damaged = |reason: &str| Failure::new(FailureKind::Damaged, reason);
    match error {
        _ if bytes.is_empty() => damaged("the file is empty"),
        OpenError::Format if !head.windows(5).any(|w| w == b"%PDF-") => damaged("not a PDF"),
        OpenError::Format => damaged("damaged: the PDF cannot be opened"),
        OpenError::Security | OpenError::Password => {
            Failure::new(FailureKind::Encrypted, "encrypted in a way that cannot be read")
        }
        OpenError::Other(number) => Failure::new(
            FailureKind::Other,
            format!("the PDF cannot be opened (error {number} of pdfium)"),
        ),
    }
}
