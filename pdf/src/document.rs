//! A document that a worker has open, and the copies of it that some pages need.

use std::cell::{OnceCell, RefCell};
use std::collections::HashSet;

use pagesight_core::{Failure, FailureKind};

use crate::facts::Facts;
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

    /// Whether page `number` of the copy is as it was; from now on it is not.
    pub fn is_first_flattening(&self, number: u32) -> bool {
        self.flattened.borrow_mut().insert(number)
    }

    fn open_again(&self) -> Option<Document<'l>> {
        self.library.open(self.bytes, self.password.as_deref()).ok()
    }
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
