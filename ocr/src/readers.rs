//! The readers of this machine, and the rule which of them reads a page.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use pagesight_core::seam::{BoxError, Ocr};
use pagesight_core::{OcrChoice, OcrText, PageImage, Turn};

#[cfg(feature = "embedded")]
use crate::embedded::Embedded;
use crate::error::OcrError;
use crate::places::WeightSearch;
use crate::scripts::is_lacking;
#[cfg(feature = "embedded")]
use crate::scripts::languages_of;
use crate::tesseract::Tesseract;

/// What tesseract reads when no language was named.
const USUAL: &str = "eng";

/// Of so many languages at once tesseract still reads well, where the script is not known.
#[cfg(feature = "embedded")]
const MOST_LANGUAGES: usize = 4;

/// The readers of this machine, and the rule which of them reads a page.
///
/// By [`OcrChoice::Auto`] the embedded reader reads each page first: it knows Latin letters, Chinese
/// and Japanese. Where most of what it finds on a page is no letter that it knows, and tesseract is
/// installed with a language of a script that it lacks (Cyrillic, Greek, Arabic, Hebrew, Korean,
/// Thai, those of India and others), tesseract says which script the page is in and reads it; the
/// words of the one that is sure of more letters count. Where languages are named and one of them
/// is of such a script, or where the weights of the embedded reader are not there, tesseract reads
/// all pages.
///
/// ```no_run
/// use pagesight_core::OcrChoice;
/// use pagesight_ocr::{Readers, WeightSearch};
///
/// let readers = Readers::find(OcrChoice::Auto, None, &WeightSearch::default())?;
/// println!("{}", readers.describe());
/// # Ok::<(), pagesight_ocr::OcrError>(())
/// ```
#[derive(Debug)]
pub struct Readers {
    first: Reader,
    /// Reads the scripts that the first one lacks.
    other: Option<Tesseract>,
}

#[derive(Debug)]
enum Reader {
    #[cfg(feature = "embedded")]
    Embedded(Box<Embedded>),
    Tesseract(Tesseract),
}

impl Readers {
    /// Looks for readers. `languages` are those of the pages as tesseract names them, `+` between
    /// them, where they are known; the weights of the embedded reader lie where `weights` says.
    ///
    /// # Errors
    /// When there is none: [`OcrError::NoWeights`] where the embedded reader was chosen, and for
    /// tesseract [`OcrError::NotInstalled`] or [`OcrError::NoLanguage`]. Weights that are there and
    /// are not the published ones are an error in any case: [`OcrError::WrongWeights`].
    pub fn find(
        choice: OcrChoice,
        languages: Option<&str>,
        weights: &WeightSearch,
    ) -> Result<Self, OcrError> {
        let tesseract = || Tesseract::find(languages.unwrap_or(USUAL)).map(Self::only);
        match choice {
            OcrChoice::Off => Err(OcrError::Off),
            OcrChoice::Tesseract => tesseract(),
            OcrChoice::Embedded => Self::embedded(&weights.found()?, None),
            _ => {
                let lacks = languages.is_some_and(|names| names.split('+').any(is_lacking));
                if let (true, Ok(readers)) = (lacks, tesseract()) {
                    return Ok(readers);
                }
                match weights.found().and_then(|folder| {
                    let other = Tesseract::find_all(is_lacking).ok();
                    Self::embedded(&folder, other)
                }) {
                    Err(OcrError::NoWeights { .. } | OcrError::NotBuilt) => tesseract(),
                    found => found,
                }
            }
        }
    }

    fn only(tesseract: Tesseract) -> Self {
        Self { first: Reader::Tesseract(tesseract), other: None }
    }

    #[cfg(feature = "embedded")]
    fn embedded(folder: &Path, other: Option<Tesseract>) -> Result<Self, OcrError> {
        Ok(Self { first: Reader::Embedded(Box::new(Embedded::open(folder)?)), other })
    }

    #[cfg(not(feature = "embedded"))]
    fn embedded(_: &Path, _: Option<Tesseract>) -> Result<Self, OcrError> {
        Err(OcrError::NotBuilt)
    }

    /// Which readers these are, for a person.
    pub fn describe(&self) -> String {
        match (&self.first, &self.other) {
            (Reader::Tesseract(tesseract), _) => format!("tesseract ({})", tesseract.languages()),
            #[cfg(feature = "embedded")]
            (Reader::Embedded(_), None) => "the embedded reader".into(),
            #[cfg(feature = "embedded")]
            (Reader::Embedded(_), Some(other)) => {
                format!("the embedded reader, tesseract for {}", other.languages())
            }
        }
    }

    /// Reads a page in a script that the first reader lacks; `None` when it is in none of those.
    #[cfg(feature = "embedded")]
    fn read_other(
        other: &Tesseract,
        page: &PageImage,
        stop: &AtomicBool,
    ) -> Result<Option<OcrText>, BoxError> {
        let installed: Vec<&str> = other.languages().split('+').collect();
        let languages: Vec<&str> = match other.script(page, stop)? {
            Some(script) => match languages_of(&script) {
                Some(of) => installed.into_iter().filter(|name| of.contains(name)).collect(),
                None => return Ok(None),
            },
            None => installed.into_iter().take(MOST_LANGUAGES).collect(),
        };
        if languages.is_empty() {
            return Ok(None);
        }
        Ok(Some(other.with_languages(languages.join("+")).read(page, stop)?))
    }
}

/// Letters and digits of words of which the engine is sure.
#[cfg(feature = "embedded")]
fn sure_letters(found: &OcrText) -> usize {
    let sure = found.words.iter().filter(|word| word.confidence >= 0.7);
    sure.map(|word| word.text.chars().filter(|c| c.is_alphanumeric()).count()).sum()
}

impl Ocr for Readers {
    fn dpi(&self) -> u32 {
        match &self.first {
            #[cfg(feature = "embedded")]
            Reader::Embedded(first) => first.dpi(),
            Reader::Tesseract(first) => first.dpi(),
        }
    }

    fn read(&self, page: &PageImage, stop: &AtomicBool) -> Result<OcrText, BoxError> {
        match &self.first {
            Reader::Tesseract(first) => first.read(page, stop),
            #[cfg(feature = "embedded")]
            Reader::Embedded(first) => {
                let (found, doubt) = first.read_with_doubt(page, stop)?;
                let Some(other) = self.other.as_ref().filter(|_| doubt.is_large()) else {
                    return Ok(found);
                };
                match Self::read_other(other, page, stop)? {
                    Some(read) if sure_letters(&read) > sure_letters(&found) => Ok(read),
                    _ => Ok(found),
                }
            }
        }
    }

    fn turn(&self, page: &PageImage, stop: &AtomicBool) -> Result<Option<Turn>, BoxError> {
        match &self.first {
            Reader::Tesseract(first) => first.turn(page, stop),
            #[cfg(feature = "embedded")]
            Reader::Embedded(first) => match (first.turn(page, stop)?, &self.other) {
                (None, Some(other)) => other.turn(page, stop),
                (turn, _) => Ok(turn),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reads_when_nothing_is_wanted_or_there() {
        let nowhere = WeightSearch { folder: Some("/nowhere".into()), ..WeightSearch::default() };
        let off = Readers::find(OcrChoice::Off, None, &nowhere);
        assert!(matches!(off, Err(OcrError::Off)), "{off:?}");
        let embedded = Readers::find(OcrChoice::Embedded, Some("eng"), &nowhere);
        assert!(matches!(embedded, Err(OcrError::NoWeights { .. })), "{embedded:?}");
    }
}
