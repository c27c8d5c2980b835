//! What is read of a page: its words, its picture, and the words that OCR finds in the picture.

use serde::{Deserialize, Serialize};

use crate::geometry::{PageSize, PictureSize};
use crate::layout::Area;

/// How large a page is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrawSize {
    /// Exactly this size, whatever the shape of the page: it is drawn larger and squeezed into this
    /// size. This is how pages are drawn for a model.
    Exact {
        /// The size.
        size: PictureSize,
        /// What it is squeezed with.
        filter: Filter,
    },
    /// This many pixels wide, and as high as the shape of the page asks.
    Width(u32),
    /// At this resolution in dots per inch. A huge page is drawn smaller than that.
    Dpi(u32),
}

impl DrawSize {
    /// Exactly this size, by the bicubic filter that most models' references resize with.
    pub fn exact(size: PictureSize) -> Self {
        Self::Exact { size, filter: Filter::default() }
    }
}

/// How pixels become fewer, or more: the filters that models' references resize pictures with, as
/// Pillow has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// A triangle, one pixel to each side.
    Bilinear,
    /// Keys' cubic with a = -0.5, two pixels to each side.
    #[default]
    Bicubic,
    /// A windowed sinc, three pixels to each side.
    Lanczos,
}

/// The words that a PDF holds for a page.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PageText {
    /// Size of the page as displayed.
    pub size: PageSize,
    /// What the page shows of its text layer, in its own order, then what its annotations and form
    /// fields show. Where a line ended with a hyphen within a word stands U+00AD: the parts may be
    /// one word or two.
    pub text: String,
    /// Whether the page has more text than was asked for.
    pub cut: bool,
    /// The share of the page that images cover, from 0 to 1. What is written in them is in no text.
    pub images: f32,
    /// Lines and shapes on the page. Letters may be among them, drawn and not written.
    pub paths: u32,
}

impl PageText {
    /// A page of `size` with `text`, which is all of it unless it was `cut`.
    pub fn new(size: PageSize, text: impl Into<String>, cut: bool) -> Self {
        Self { size, text: text.into(), cut, images: 0.0, paths: 0 }
    }

    /// Says what else is on the page: the share of it that images cover, and how many lines and
    /// shapes.
    #[must_use]
    pub fn with_drawings(self, images: f32, paths: u32) -> Self {
        Self { images, paths, ..self }
    }
}

/// Which reader reads pages that are pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OcrChoice {
    /// The embedded reader for the scripts that it knows, tesseract for those that it lacks, each
    /// where it is there.
    #[default]
    Auto,
    /// The embedded reader alone.
    Embedded,
    /// The tesseract program alone.
    Tesseract,
    /// None: such pages have no words.
    Off,
}

/// A word of a page's text layer and where it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PageWord {
    /// The word, without white space.
    pub text: String,
    /// The box around its letters, in fractions of the sides of the page as displayed.
    pub area: Area,
}

/// The words that OCR found in the picture of a page.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct OcrText {
    /// All of them, in reading order.
    pub text: String,
    /// Where each stands, for engines that say so; empty for others.
    pub words: Vec<OcrWord>,
}

impl OcrText {
    /// Text without places.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), words: Vec::new() }
    }

    /// Words with their places; the text is the words with blanks between them.
    pub fn of_words(words: Vec<OcrWord>) -> Self {
        let text: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        Self { text: text.join(" "), words }
    }
}

/// One word that OCR found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct OcrWord {
    /// The word.
    pub text: String,
    /// Where it stands, in fractions of the sides of the page.
    pub area: Area,
    /// How sure the engine is, from 0 to 1.
    pub confidence: f32,
}

impl OcrWord {
    /// A word that stands in `area`.
    pub fn new(text: impl Into<String>, area: Area, confidence: f32) -> Self {
        Self { text: text.into(), area, confidence }
    }
}
