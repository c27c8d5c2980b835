//! Which pages need the font that holds the letters and signs beyond Latin 1
//! ([`fonts`](crate::fonts)).
//!
//! A PDF may name a font and not bring it. pdfium then draws with fonts of its own, which look as
//! they should and have the letters of Western Europe alone; all others would be holes, and text of
//! nothing else is no text for it. So a page that has other letters in such a font is read and drawn
//! with a font that has them, from a copy of the document: all other pages look as they always did.

use std::collections::{HashMap, HashSet};

use crate::raw::{Handle, Page};
use crate::survey::{Survey, TextObject};

/// A page of more annotations is looked at so far.
const MAX_ANNOTATIONS: usize = 2_000;

/// Whether the font has this letter or sign, and pdfium's own have not.
pub fn is_beyond_latin_1(unit: u32) -> bool {
    /// Those of the standard encodings between those of the font.
    const STANDARD: [u32; 23] = [
        0x131, 0x141, 0x142, 0x152, 0x153, 0x160, 0x161, 0x178, 0x17D, 0x17E, 0x192, 0x2013,
        0x2014, 0x2018, 0x2019, 0x201A, 0x201C, 0x201D, 0x201E, 0x2030, 0x20AC, 0x2122, 0x2212,
    ];
    let is_in_font = match unit {
        // Latin and its accents, to the letters of Vietnamese; Greek and Cyrillic.
        0x100..=0x24F | 0x259 | 0x300..=0x36F | 0x370..=0x52F | 0x1E00..=0x1FFF => true,
        // Armenian, Hebrew, Arabic and their forms; Thai and Lao; Georgian.
        0x530..=0x6FF | 0xFB1D..=0xFDFD | 0xFE70..=0xFEFC | 0xE00..=0xEFF | 0x10A0..=0x10FF => true,
        // Hyphens and dashes, primes, small numbers, currencies.
        0x2010..=0x201F | 0x2024 | 0x2025 | 0x2030..=0x2037 | 0x203B..=0x2043 => true,
        0x2070..=0x209F | 0x20A0..=0x20CF => true,
        // № ℃, fractions, Roman numerals, arrows, signs of mathematics, numbers in circles, boxes,
        // geometric and other signs.
        0x2100..=0x231F | 0x2460..=0x27BF => true,
        _ => false,
    };
    is_in_font && !STANDARD.contains(&unit)
}

/// Whether a text has such letters.
pub fn has_beyond_latin_1(text: &str) -> bool {
    text.chars().any(|c| is_beyond_latin_1(c.into()))
}

/// The text of a page in fonts that the document names and does not bring, but for those of symbols,
/// which have letters of their own.
pub fn in_named_fonts(survey: &Survey<'_>) -> HashSet<Handle> {
    let mut fonts = HashMap::new();
    let is_named = |text: &&TextObject<'_>| {
        text.object.font().is_some_and(|font| {
            *fonts.entry(font.handle()).or_insert_with(|| {
                let name = || font.base_name().to_ascii_lowercase();
                !font.is_embedded()
                    && !["symbol", "dingbats"].iter().any(|part| name().contains(part))
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
