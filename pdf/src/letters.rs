//! Which pages need the font that holds the letters and signs beyond Latin 1
//! ([`fonts`](crate::fonts)).
//!
//! A PDF may name a font and not bring it. pdfium then draws with fonts of its own, which look as
//! they should and have the letters of Western Europe alone; all others would be holes, and text of
//! nothing else is no text for it. So a page that has other letters in such a font is read and drawn
//! with a font that has them, from a copy of the document: all other pages look as they always did.

use std::collections::{HashMap, HashSet};

use crate::facts::Facts;
use crate::fonts::has_beyond_latin_1;
use crate::raw::{Handle, Page};
use crate::survey::{Survey, TextObject};

/// A page of more annotations is looked at so far.
const MAX_ANNOTATIONS: usize = 2_000;

/// The text of a page in fonts that the document names and does not bring, but for those that have
/// Western letters alone, and those of symbols, which have letters of their own.
pub fn in_named_fonts(survey: &Survey<'_>, facts: &Facts<'_>) -> HashSet<Handle> {
    let mut fonts = HashMap::new();
    let is_named = |text: &&TextObject<'_>| {
        text.object.font().is_some_and(|font| {
            *fonts.entry(font.handle()).or_insert_with(|| {
                let name = || font.base_name().to_ascii_lowercase();
                !font.is_embedded()
                    && !["symbol", "dingbats"].iter().any(|part| name().contains(part))
                    && facts.may_have_other_letters(&font)
            })
        })
    };
    survey.texts.iter().filter(is_named).map(|text| text.object.handle()).collect()
}

/// Whether an annotation of the page says something in such letters.
pub fn in_annotations(page: &Page<'_>) -> bool {
    page.annotations(MAX_ANNOTATIONS).iter().any(|annotation| {
        has_beyond_latin_1(&annotation.string("Contents"))
            || has_beyond_latin_1(&annotation.field_value())
    })
}
