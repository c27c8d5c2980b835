//! Letters with marks in one form.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// `text` with letters and their marks composed (NFC). File names are written either way, and look
/// the same; where they are compared, both sides go through this.
///
/// ```
/// use pagesight_core::composed;
/// assert_eq!(composed("Mu\u{308}nchen.pdf"), "M\u{FC}nchen.pdf");
/// ```
#[must_use]
pub fn composed(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.nfc().collect())
    }
}
