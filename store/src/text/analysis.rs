//! Words for the text index: one analyser for pages, queries and snippets.
//!
//! * Unicode words (UAX #29), NFKC, lower case, accents folded where they are optional (Latin,
//!   Greek, Arabic; not kana, Hangul or Cyrillic й).
//! * Han, kana and Hangul have no reliable word breaks: overlapping pairs of characters, as
//!   Lucene's CJK analyser does.
//! * Numbers are one word whatever their grouping (1,234.5 is 1234.5); codes are found whole and
//!   by their parts (10-K: 10k, 10, k; FY2023: fy2023, fy, 2023; SG&A: sga, sg, a).
//! * Stemming by the page's language, and by script where that says the language.
//! * Rows of dots that lead to a page number are navigation: the titles in a table of contents
//!   are not what a page says.

use std::collections::HashMap;
use std::ops::Range;

use tantivy::tokenizer::{Language, RawTokenizer, Stemmer, TextAnalyzer, TokenStream};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation;

/// A searchable word and where it stands in the text, bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// As it is stored and looked up.
    pub term: String,
    /// Where it came from.
    pub range: Range<usize>,
}

/// Longer runs of letters are data (base64, URLs without breaks), not words.
const MAX_TERM_CHARS: usize = 64;

/// Turns text into words; keeps a stemmer a language.
#[derive(Default)]
pub struct Analyser {
    stemmers: HashMap<Language, TextAnalyzer>,
}

impl Analyser {
    /// The words of `text`, stemmed for `language` ; see `language_of`.
    ///
    /// ```
    /// use pagesight_store::Analyser;
    /// let terms = |text| -> Vec<String> {
    ///     Analyser::default().words(text, None).into_iter().map(|w| w.term).collect()
    /// };
    /// assert_eq!(terms("Réponses: 1,234.5 東京都"), ["repons", "1234.5", "東京", "京都"]);
    /// assert_eq!(terms("10-K"), ["10k", "10", "k"]);
    /// ```
    pub fn words(&mut self, text: &str, language: Option<Language>) -> Vec<Word> {
        let mut words = Vec::new();
        for (start, chunk) in chunks(text) {
            let range = start..start + chunk.len();
            if is_number(chunk) {
                words.push(Word { term: chunk.replace(',', ""), range });
                continue;
            }
            if chunk.starts_with(is_cjk) {
                words.push(Word { term: chunk.nfkc().collect(), range });
                continue;
            }
            let parts: Vec<(usize, &str)> =
                chunk.unicode_word_indices().map(|(at, part)| (start + at, part)).collect();
            if let [first, .., last] = parts[..]
                && parts.iter().all(|(_, part)| part.is_ascii())
                && is_code(chunk)
            {
                let term = parts.iter().flat_map(|(_, part)| part.chars());
                let term = term.filter(|c| c.is_alphanumeric()).collect::<String>();
                self.push(&mut words, &term, first.0..last.0 + last.1.len(), None);
            }
            for (at, part) in parts {
                self.part(&mut words, at, part, language);
            }
        }
        words
    }

    /// One word by Unicode's breaks: a mix of letters and digits, or a plain word.
    fn part(&mut self, words: &mut Vec<Word>, at: usize, part: &str, language: Option<Language>) {
        self.push(words, part, at..at + part.len(), language);
        let runs = letter_digit_runs(part);
        if runs.len() > 1 && part.is_ascii() {
            for run in runs {
                self.push(words, &part[run.clone()], at + run.start..at + run.end, language);
            }
        }
    }

    fn push(
        &mut self,
        words: &mut Vec<Word>,
        part: &str,
        range: Range<usize>,
        language: Option<Language>,
    ) {
        let lower: String = part.nfkc().flat_map(char::to_lowercase).collect();
        if lower.is_empty() || lower.chars().count() > MAX_TERM_CHARS {
            return;
        }
        let possessive = ["'s", "’s"].iter().find_map(|s| lower.strip_suffix(s));
        let stem = self.stem(possessive.unwrap_or(&lower), language);
        words.push(Word { term: fold(&stem), range });
    }

    fn stem(&mut self, word: &str, language: Option<Language>) -> String {
        let Some(language) = stemming_language(word, language) else {
            return word.to_string();
        };
        let stemmer = self.stemmers.entry(language).or_insert_with(|| {
            TextAnalyzer::builder(RawTokenizer::default()).filter(Stemmer::new(language)).build()
        });
        let mut stream = stemmer.token_stream(word);
        match stream.advance() {
            true if !stream.token().text.is_empty() => stream.token().text.clone(),
            _ => word.to_string(),
        }
    }
}

/// The language of `text` for stemming, where it is clear and tantivy has a stemmer.
pub fn language_of(text: &str) -> Option<Language> {
    // A page's beginning is enough, and keeps the guess cheap on pages of data.
    let end = text.char_indices().nth(2_000).map_or(text.len(), |(at, _)| at);
    let guess = whatlang::detect(&text[..end])?;
    if !guess.is_reliable() {
        return None;
    }
    use whatlang::Lang;
    Some(match guess.lang() {
        Lang::Ara => Language::Arabic,
        Lang::Dan => Language::Danish,
        Lang::Nld => Language::Dutch,
        Lang::Eng => Language::English,
        Lang::Fin => Language::Finnish,
        Lang::Fra => Language::French,
        Lang::Deu => Language::German,
        Lang::Ell => Language::Greek,
        Lang::Hun => Language::Hungarian,
        Lang::Ita => Language::Italian,
        Lang::Nob => Language::Norwegian,
        Lang::Por => Language::Portuguese,
        Lang::Ron => Language::Romanian,
        Lang::Rus => Language::Russian,
        Lang::Spa => Language::Spanish,
        Lang::Swe => Language::Swedish,
        Lang::Tam => Language::Tamil,
        Lang::Tur => Language::Turkish,
        _ => return None,
    })
}

/// The stemmer for one word: script decides where it can, then the page's language, then
/// English, which most pages without a clear language (tables, code) are nearest to.
fn stemming_language(word: &str, language: Option<Language>) -> Option<Language> {
    if word.chars().any(|c| c.is_numeric()) {
        return None;
    }
    match word.chars().next()? as u32 {
        0x0370..=0x03FF | 0x1F00..=0x1FFF => Some(Language::Greek),
        0x0400..=0x04FF => Some(Language::Russian),
        // Persian and Urdu share the script but not the stems.
        0x0600..=0x06FF => language.filter(|&l| l == Language::Arabic),
        0x0B80..=0x0BFF => Some(Language::Tamil),
        0x0041..=0x024F | 0x1E00..=0x1EFF => {
            let other_script = [Language::Greek, Language::Russian, Language::Arabic];
            Some(language.filter(|l| !other_script.contains(l)).unwrap_or(Language::English))
        }
        _ => None,
    }
}

/// Drops accents where writers drop them too.
fn fold(term: &str) -> String {
    term.chars()
        .flat_map(|c| {
            let optional = matches!(c as u32, 0x00C0..=0x03FF | 0x0600..=0x06FF | 0x1E00..=0x1FFF);
            let mapped = match c {
                'ё' => 'е',
                // Persian and Arabic forms of the same letters, and the silent extender.
                'ی' | 'ى' => 'ي',
                'ک' => 'ك',
                'ة' => 'ه',
                c => c,
            };
            let decomposed: Vec<char> = match optional {
                true => mapped.nfd().filter(|&c| !is_combining_mark(c) && c != 'ـ').collect(),
                false => vec![mapped],
            };
            decomposed
        })
        .collect()
}

/// Pieces without spaces, punctuation trimmed; runs of CJK cut into pairs of characters (one
/// character when it stands alone). Leaders are passed over with the line they stand in.
fn chunks(text: &str) -> Vec<(usize, &str)> {
    let mut chunks = Vec::new();
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        if !is_leader_line(line) {
            for piece in line.split(is_break) {
                let at = line_start + (piece.as_ptr() as usize - line.as_ptr() as usize);
                split_scripts(at, piece, &mut chunks);
            }
        }
        line_start += line.len();
    }
    chunks
}

/// Spaces, controls, and the invisible marks around words (Persian's joiner, reading directions).
fn is_break(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

fn is_leader_line(line: &str) -> bool {
    let line = line.trim_end();
    let ends_in_number = line.ends_with(|c: char| c.is_ascii_digit());
    ends_in_number && (line.contains(". . . .") || line.contains("....."))
}

fn split_scripts<'a>(at: usize, piece: &'a str, chunks: &mut Vec<(usize, &'a str)>) {
    let mut start = 0;
    while start < piece.len() {
        let rest = &piece[start..];
        let cjk = rest.starts_with(is_cjk);
        let len = rest.find(|c| is_cjk(c) != cjk).unwrap_or(rest.len());
        let run = &rest[..len];
        if cjk {
            let ends: Vec<usize> = run.char_indices().map(|(i, c)| i + c.len_utf8()).collect();
            let begins = std::iter::once(0).chain(ends.iter().copied());
            match ends.len() {
                1 => chunks.push((at + start, run)),
                _ => chunks
                    .extend(begins.zip(&ends[1..]).map(|(b, &e)| (at + start + b, &run[b..e]))),
            }
        } else {
            let trimmed = run.trim_start_matches(|c: char| !c.is_alphanumeric());
            let begin = start + (len - trimmed.len());
            let trimmed = trimmed.trim_end_matches(|c: char| !c.is_alphanumeric());
            if !trimmed.is_empty() {
                chunks.push((at + begin, trimmed));
            }
        }
        start += len;
    }
}

fn is_cjk(c: char) -> bool {
    matches!(c as u32,
        0x3040..=0x30FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xAC00..=0xD7AF
        | 0xF900..=0xFAFF | 0xFF66..=0xFF9F | 0x20000..=0x3134F | 0x3005)
}

/// 1,234.5 and 12.75, not 1.2.3.
fn is_number(chunk: &str) -> bool {
    chunk.starts_with(|c: char| c.is_ascii_digit())
        && chunk.bytes().all(|b| b.is_ascii_digit() || b == b',' || b == b'.')
        && chunk.bytes().filter(|&b| b == b'.').count() <= 1
}

/// Joined by the marks that codes use, and short enough to be one.
fn is_code(chunk: &str) -> bool {
    chunk.len() <= 32 && chunk.chars().all(|c| c.is_ascii_alphanumeric() || "-_/.&+".contains(c))
}

/// FY2023 is FY and 2023.
fn letter_digit_runs(part: &str) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut last = None;
    for (at, c) in part.char_indices() {
        let digit = c.is_ascii_digit();
        let end = at + c.len_utf8();
        match runs.last_mut() {
            Some(run) if last == Some(digit) => run.end = end,
            _ => runs.push(at..end),
        }
        last = Some(digit);
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(text: &str, language: Option<Language>) -> Vec<String> {
        Analyser::default().words(text, language).into_iter().map(|w| w.term).collect()
    }

    #[test]
    fn words_numbers_and_codes() {
        for (text, expected) in [
            ("Net Sales grew.", vec!["net", "sale", "grew"]),
            ("$1,234.5 (2023)", vec!["1234.5", "2023"]),
            ("FY2023", vec!["fy2023", "fy", "2023"]),
            ("SG&A", vec!["sga", "sg", "a"]),
            ("Amcor's plants", vec!["amcor", "plant"]),
            ("Amcor’s", vec!["amcor"]),
            ("naïve Straße", vec!["naiv", "straße"]),
            ("东京 都", vec!["东京", "都"]),
            ("日本語PDF", vec!["日本", "本語", "pdf"]),
            ("한국어", vec!["한국", "국어"]),
            ("отчёты", vec!["отчет"]),
            ("كتاب‌های", vec!["كتاب", "هاي"]),
            ("¿?!", vec![]),
            ("1 Introduction ........ 7\nBody", vec!["bodi"]),
        ] {
            assert_eq!(terms(text, None), expected, "{text}");
        }
    }

    #[test]
    fn the_language_of_the_page_stems_latin_words() {
        let german = language_of(
            "Die Häuser der Stadt wurden im letzten Jahrhundert von vielen Menschen gebaut.",
        );
        assert_eq!(german, Some(Language::German));
        assert_eq!(terms("Häuser", german), ["haus"]);
    }

    #[test]
    fn ranges_point_into_the_text() {
        let text = "Die «Häuser» 10-K, 東京都";
        for word in Analyser::default().words(text, None) {
            assert!(text.get(word.range.clone()).is_some(), "{word:?}");
        }
        let words = Analyser::default().words(text, None);
        assert_eq!(&text[words[1].range.clone()], "Häuser");
    }
}
