//! Languages: which one a text is in, its stems, and the words in it that carry no matter.

use std::collections::HashMap;
use std::sync::OnceLock;

use frostem::{Algorithm, Stemmer};

use super::fold::folded;

/// A language that pages are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Language(u8);

/// A set of [languages](Language), and of no language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Languages(u64);

/// ISO 639-3 codes, and the stemmers that there are. The index of a row is stored with each page: new
/// rows go to the end.
const TABLE: [(&str, Option<Algorithm>); 46] = [
    ("arb", Some(Algorithm::Arabic)),
    ("dan", Some(Algorithm::Danish)),
    ("nld", Some(Algorithm::Dutch)),
    ("eng", Some(Algorithm::English)),
    ("fin", Some(Algorithm::Finnish)),
    ("fra", Some(Algorithm::French)),
    ("deu", Some(Algorithm::German)),
    ("ell", Some(Algorithm::Greek)),
    ("hun", Some(Algorithm::Hungarian)),
    ("ita", Some(Algorithm::Italian)),
    ("nob", Some(Algorithm::Norwegian)),
    ("por", Some(Algorithm::Portuguese)),
    ("ron", Some(Algorithm::Romanian)),
    ("rus", Some(Algorithm::Russian)),
    ("spa", Some(Algorithm::Spanish)),
    ("swe", Some(Algorithm::Swedish)),
    ("tam", Some(Algorithm::Tamil)),
    ("tur", Some(Algorithm::Turkish)),
    ("pol", None),
    ("ces", None),
    ("slk", None),
    ("slv", None),
    ("hrv", None),
    ("srp", None),
    ("ukr", None),
    ("bel", None),
    ("bul", None),
    ("mkd", None),
    ("aze", None),
    ("cat", None),
    ("lit", None),
    ("lav", None),
    ("est", None),
    ("ind", None),
    ("vie", None),
    ("afr", None),
    ("pes", None),
    ("urd", None),
    ("heb", None),
    ("hin", None),
    ("ben", None),
    ("jpn", None),
    ("cmn", None),
    ("kor", None),
    ("tha", None),
    ("epo", None),
];

/// The bit of pages whose language is not known.
const UNKNOWN: u32 = 63;

const FUNCTION_WORDS: &str = include_str!("function_words.txt");

impl Language {
    /// The language with this ISO 639-3 code.
    pub fn from_code(code: &str) -> Option<Self> {
        TABLE.iter().position(|row| row.0 == code).map(|row| Self(row as u8))
    }

    /// Its ISO 639-3 code.
    pub fn code(self) -> &'static str {
        TABLE[usize::from(self.0)].0
    }

    /// The name of its stemmer, where it has one.
    pub(crate) fn stemmer(self) -> Option<String> {
        TABLE[usize::from(self.0)].1.map(|stemmer| format!("{stemmer:?}"))
    }

    /// Every language.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..TABLE.len() as u8).map(Self)
    }

    /// The language of `text`, where it is clear.
    ///
    /// ```
    /// use pagesight_store::Language;
    /// let german = "Die Häuser der Stadt wurden im letzten Jahrhundert von vielen gebaut.";
    /// assert_eq!(Language::of(german).map(Language::code), Some("deu"));
    /// assert_eq!(Language::of("12 x 7"), None);
    /// ```
    pub fn of(text: &str) -> Option<Self> {
        // A page's beginning is enough, and keeps the guess cheap on pages of data.
        let end = text.char_indices().nth(2_000).map_or(text.len(), |(at, _)| at);
        let guess = whatlang::detect(&text[..end])?;
        guess.is_reliable().then(|| Self::from_code(guess.lang().code()))?
    }

    /// What is stored of the language of a page; 0 is none.
    pub(crate) fn stored(language: Option<Self>) -> u64 {
        language.map_or(0, |language| u64::from(language.0) + 1)
    }

    /// The language that [`stored`](Self::stored) gave.
    pub(crate) fn from_stored(stored: u64) -> Option<Self> {
        let row = u8::try_from(stored.checked_sub(1)?).ok()?;
        (usize::from(row) < TABLE.len()).then_some(Self(row))
    }

    /// As [`from_stored`](Self::from_stored), as a set.
    pub(crate) fn read(stored: u64) -> Languages {
        Languages::of(Self::from_stored(stored))
    }
}

impl Languages {
    /// One, or none.
    pub fn of(language: Option<Language>) -> Self {
        Self(1 << language.map_or(UNKNOWN, |language| u32::from(language.0)))
    }

    pub fn every() -> Self {
        Self(u64::MAX)
    }

    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether they have one in common.
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Each of them alone.
    pub fn each(self) -> impl Iterator<Item = Self> {
        (0..64).map(|bit| Self(1 << bit)).filter(move |one| one.meets(self))
    }
}

/// The stem of `word`, in lower case, on a page in `language`. Script decides where it can, then the
/// page's language, then English, which most pages without a clear language (tables, code) are
/// nearest to.
pub(super) fn stem(word: &str, language: Option<Language>) -> String {
    match algorithm(word, language) {
        None => word.to_string(),
        Some(algorithm) => match Stemmer::new(algorithm).stem(word) {
            stem if stem.is_empty() => word.to_string(),
            stem => stem.into_owned(),
        },
    }
}

fn algorithm(word: &str, language: Option<Language>) -> Option<Algorithm> {
    if word.chars().any(char::is_numeric) {
        return None;
    }
    let of_page = language.map(|language| TABLE[usize::from(language.0)]);
    match word.chars().next()? as u32 {
        0x0370..=0x03FF | 0x1F00..=0x1FFF => Some(Algorithm::Greek),
        0x0400..=0x04FF => match of_page {
            // Other languages share the script but not the stems.
            Some(("ukr" | "bel" | "bul" | "mkd" | "srp", _)) => None,
            _ => Some(Algorithm::Russian),
        },
        0x0600..=0x06FF => of_page.filter(|row| row.0 == "arb").and_then(|row| row.1),
        0x0B80..=0x0BFF => Some(Algorithm::Tamil),
        0x0041..=0x024F | 0x1E00..=0x1EFF => match of_page {
            Some(("arb" | "ell" | "rus" | "tam", _)) | None => Some(Algorithm::English),
            Some((code, None)) if is_latin(code) => None,
            Some((_, stemmer)) => stemmer.or(Some(Algorithm::English)),
        },
        _ => None,
    }
}

fn is_latin(code: &str) -> bool {
    !matches!(
        code,
        "srp"
            | "ukr"
            | "bel"
            | "bul"
            | "mkd"
            | "pes"
            | "urd"
            | "heb"
            | "hin"
            | "ben"
            | "jpn"
            | "cmn"
            | "kor"
            | "tha"
    )
}

/// The languages in which `form`, in lower case, carries the grammar of a question and not its
/// matter.
pub(super) fn grammar(form: &str) -> Languages {
    static WORDS: OnceLock<HashMap<String, Languages>> = OnceLock::new();
    let words = WORDS.get_or_init(|| {
        let mut words: HashMap<String, Languages> = HashMap::new();
        for line in FUNCTION_WORDS.lines().filter(|line| !line.starts_with('#')) {
            let Some((code, list)) = line.split_once(": ") else { continue };
            let language = Languages::of(Language::from_code(code));
            for word in list.split(' ') {
                // As pages are cut: don't is one word.
                let word = folded(&word.replace('\'', "")).0;
                let languages = words.entry(word).or_default();
                *languages = languages.with(language);
            }
        }
        words
    });
    words.get(&folded(form).0).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_function_words_is_of_a_language() {
        for line in FUNCTION_WORDS.lines().filter(|line| !line.starts_with('#')) {
            let (code, words) = line.split_once(": ").expect(line);
            assert!(Language::from_code(code).is_some(), "{code}");
            assert!(words.split(' ').count() > 20, "{code}");
        }
        let english = Languages::of(Language::from_code("eng"));
        let german = Languages::of(Language::from_code("deu"));
        assert!(grammar("what").meets(english) && grammar("dont").meets(english));
        assert!(grammar("welche").meets(german) && !grammar("welche").meets(english));
        assert!(grammar("die").meets(german) && !grammar("die").meets(english));
        assert_eq!(grammar("revenue"), Languages::default());
    }

    #[test]
    fn a_language_comes_back_as_it_was_stored() {
        for language in Language::all() {
            assert_eq!(
                Language::read(Language::stored(Some(language))),
                Languages::of(Some(language))
            );
        }
        assert_eq!(Language::read(Language::stored(None)), Languages::of(None));
        assert_eq!(Language::read(9_999), Languages::of(None));
    }
}
