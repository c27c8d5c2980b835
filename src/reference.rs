//! References: names of pages that hold for as long as the bytes of their document do, wherever its
//! file lies.

use std::fmt;
use std::str::FromStr;

use pagesight_core::{DocumentId, PageId};

/// Digits of a document in a reference that we write.
const DIGITS: usize = 16;

/// Digits that are understood, at least; two documents rarely begin with the same ones.
const LEAST: usize = 8;

/// A page by the first digits of its document's id and its number, e.g. `3f9a1c2b4d5e6f70-12`.
///
/// ```
/// use pagesight::PageRef;
/// let reference: PageRef = "3F9A1C2B-12".parse().unwrap();
/// assert_eq!((reference.document(), reference.page()), ("3f9a1c2b", 12));
/// assert!("3f9a1c2-12".parse::<PageRef>().is_err()); // seven digits could be many
/// assert!("3f9a1c2b-0".parse::<PageRef>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PageRef {
    document: String,
    page: u32,
}

impl PageRef {
    /// The reference that we write for `page`: 16 digits of its document.
    pub fn of(page: PageId) -> Self {
        Self { document: short(page.document), page: page.number }
    }

    /// Digits that the id of its document begins with, in lower case.
    pub fn document(&self) -> &str {
        &self.document
    }

    /// 1-based.
    pub fn page(&self) -> u32 {
        self.page
    }
}

impl fmt::Display for PageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.document, self.page)
    }
}

/// What was written is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no page reference: it is DOCUMENT-PAGE, 8 to 64 hexadecimal digits of the document's \
     id and a page number from 1, e.g. 3f9a1c2b4d5e6f70-12"
)]
pub struct ParseRefError(String);

impl FromStr for PageRef {
    type Err = ParseRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = || {
            let (document, page) = text.split_once('-')?;
            let document = document_digits(document)?;
            let number = page.bytes().all(|b| b.is_ascii_digit()) && !page.starts_with('0');
            let page = page.parse().ok().filter(|_| number)?;
            Some(Self { document, page })
        };
        parts().ok_or_else(|| ParseRefError(text.chars().take(100).collect()))
    }
}

/// The digits with which we name `document`.
pub(crate) fn short(document: DocumentId) -> String {
    document.to_string()[..DIGITS].into()
}

/// `text` in lower case when it is 8 to 64 hexadecimal digits.
pub(crate) fn document_digits(text: &str) -> Option<String> {
    let fits = (LEAST..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_read_as_it_is_written() {
        let page = PageId { document: DocumentId::of(b"a"), number: 12 };
        let reference = PageRef::of(page);
        assert_eq!(reference.to_string().parse(), Ok(reference.clone()));
        assert!(page.document.to_string().starts_with(reference.document()));
        for wrong in [
            "",
            "-",
            "3f9a1c2b",
            "3f9a1c2b-",
            "3f9a1c2b-x",
            "3f9a1c2b-+1",
            "3f9a1c2b-01",
            "3f9a1c2g-1",
            "../../etc-1",
            "3f9a1c2b-4294967296",
            "3f9a1c2b--1",
        ] {
            assert!(wrong.parse::<PageRef>().is_err(), "{wrong}");
        }
        assert!(format!("{}-1", "a".repeat(65)).parse::<PageRef>().is_err());
    }
}
