//! A document that a worker has open, and the copies of it that some pages need.

use std::cell::{OnceCell, RefCell};
use std::collections::HashSet;

use pagesight_core::{Attachment, Failure, FailureKind};

use crate::facts::Facts;
use crate::protocol::{MAX_ATTACHMENTS, MAX_NAME};
use crate::raw::{Document, Library, OpenError};

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
        let (names, count) = self.document.attachments(MAX_LISTED);
        if count > 0 && self.facts.is_portfolio() {
            let files = if count == 1 { "file" } else { "files" };
            notes.push(format!("a portfolio: its pages are a cover for {count} attached {files}"));
        }
        let pdfs = self.attachments().len();
        if count > pdfs {
            let unread = count - pdfs;
            let (files, they) = if unread == 1 { ("file", "it") } else { ("files", "them") };
            let others = names.iter().filter(|name| !is_pdf(name));
            let named: Vec<String> =
                others.take(MAX_NAMES).map(|name| name.chars().take(80).collect()).collect();
            let more = if unread > named.len() { ", ..." } else { "" };
            let names = named.join(", ");
            notes.push(format!(
                "{unread} attached {files} that cannot be read ({names}{more}): save {they} from a \
                 PDF viewer"
            ));
        }
        notes
    }

    /// The attached files that are PDFs by their names.
    pub fn attachments(&self) -> Vec<Attachment> {
        let (names, _) = self.document.attachments(MAX_LISTED);
        let all = names.into_iter().zip(0..);
        let pdfs = all.filter(|(name, _)| is_pdf(name)).take(MAX_ATTACHMENTS);
        let fits = |name: &str| {
            let skipped = name.chars().count().saturating_sub(MAX_NAME);
            name.chars().skip(skipped).collect()
        };
        pdfs.map(|(name, index)| Attachment::new(index, fits(&name))).collect()
    }

    /// The bytes of attached file `index`, when there are at most `most` of them.
    pub fn attached(&self, index: u32, most: u64) -> Result<Vec<u8>, Failure> {
        self.document.attachment(index, most).map_err(|bytes| {
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

/// Names of attached files that a note says.
const MAX_NAMES: usize = 3;

/// Attached files that are looked at.
const MAX_LISTED: usize = 2_000;

fn is_pdf(name: &str) -> bool {
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
