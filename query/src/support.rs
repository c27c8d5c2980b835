//! Whether the pages that a sentence cites say it.
//!
//! What a sentence claims (numbers, names, quotations) must stand in the words of a page that it cites;
//! a sentence that claims none of these must have its words there. So a citation that counts as
//! supported has its words on that page; whether they say what the sentence says of them is for its
//! reader.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

/// What the cited pages have of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Support {
    /// Everything that it claims.
    Verbatim,
    /// Some of it.
    Partial,
    /// Nothing, or it cites no source.
    None,
    /// The pages have no words to look in.
    Unreadable,
}

impl Support {
    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verbatim => "verbatim",
            Self::Partial => "partial",
            Self::None => "none",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What the pages with these words, those that a sentence cites, have of it.
///
/// ```
/// use pagesight_query::{Support, support};
/// let page = "Goodwill impairment in 2023: 1 234 567 EUR (Nordmark GmbH)";
/// let supported = support("Nordmark wrote off 1,234,567 EUR in 2023.", &[page]);
/// assert_eq!(supported, Support::Verbatim);
/// assert_eq!(support("Nordmark wrote off 9,999 EUR in 2023.", &[page]), Support::Partial);
/// assert_eq!(support("Revenue was 17 million.", &[page]), Support::None);
/// ```
pub fn support(sentence: &str, pages: &[&str]) -> Support {
    if pages.is_empty() {
        return Support::None;
    }
    if pages.iter().all(|page| !page.chars().any(char::is_alphanumeric)) {
        return Support::Unreadable;
    }
    let claims = Claims::of(sentence);
    let pages: Vec<PageWords> = pages.iter().map(|page| PageWords::of(page)).collect();
    let total = claims.0.len();
    let met = |page: &PageWords| claims.0.iter().filter(|claim| page.has(claim)).count();
    let together = claims.0.iter().filter(|claim| pages.iter().any(|page| page.has(claim)));
    // A sentence may lean on several pages, each with a part of it.
    let best = pages.iter().map(met).max().unwrap_or(0).max(together.count());
    match best {
        _ if total == 0 => Support::None,
        best if best == total => Support::Verbatim,
        0 => Support::None,
        _ => Support::Partial,
    }
}

/// Which of the `words` of a page are what `sentence` claims, by their numbers, in order.
///
/// ```
/// let words = ["Goodwill", "of", "Nordmark:", "1,234", "EUR"];
/// assert_eq!(pagesight_query::claimed("The goodwill of Nordmark is 1 234 EUR.", &words), [2, 3, 4]);
/// assert_eq!(pagesight_query::claimed("It is 1.234.", &words), [3]);
/// ```
pub fn claimed(sentence: &str, words: &[&str]) -> Vec<usize> {
    let claims = Claims::of(sentence);
    let is_claimed = |word: &&str| {
        let page = PageWords::of(word);
        claims.0.iter().any(|claim| match claim {
            // A word of a quotation stands in it; the page's word does not hold all of it.
            Claim::Quote(quote) => {
                let own = words_of(word);
                !own.is_empty() && own.iter().all(|own| words_of(quote).contains(own))
            }
            claim => page.has(claim),
        })
    };
    (0..words.len()).filter(|&at| is_claimed(&words[at])).collect()
}

fn words_of(text: &str) -> Vec<String> {
    words(text).map(folded).collect()
}

/// What a sentence says that a page must have.
struct Claims(Vec<Claim>);

enum Claim {
    /// A number, in every way in which its digits can be read.
    Number(BTreeSet<String>),
    /// What is one number or several, in groups of digits.
    Groups(BTreeSet<String>, Vec<BTreeSet<String>>),
    /// A name or a word, folded.
    Word(String),
    /// Words that were quoted, folded.
    Quote(String),
}

impl Claims {
    fn of(sentence: &str) -> Self {
        let mut claims: Vec<Claim> = Vec::new();
        let quotes = quotes(sentence);
        claims.extend(quotes.iter().map(|quote| Claim::Quote(folded(quote))));
        let words: Vec<&str> = words(sentence).collect();
        let mut grouped: Vec<&str> = Vec::new();
        for groups in spaced_numbers(sentence) {
            let parts = groups.iter().map(|group| readings(group)).collect();
            claims.push(Claim::Groups(readings(&groups.concat()), parts));
            grouped.extend(groups);
        }
        for word in words.iter().filter(|word| word.chars().any(|c| c.is_ascii_digit())) {
            match grouped.iter().position(|group| group == word) {
                Some(at) => drop(grouped.remove(at)),
                None => claims.push(Claim::Number(readings(word))),
            }
        }
        // The first word of a sentence is in capitals whatever it is.
        for word in words.iter().skip(1) {
            let is_name = word.chars().next().is_some_and(char::is_uppercase)
                && word.chars().count() > 1
                && !word.chars().any(|c| c.is_ascii_digit());
            if is_name {
                claims.push(Claim::Word(folded(word)));
            }
        }
        if claims.is_empty() {
            let content = words.iter().filter(|word| word.chars().count() >= 4);
            claims.extend(content.map(|word| Claim::Word(folded(word))));
        }
        Self(claims)
    }
}

/// The words of a page, as claims are looked for among them.
struct PageWords {
    words: HashSet<String>,
    numbers: HashSet<String>,
    /// All of it in one line.
    text: String,
}

impl PageWords {
    fn of(page: &str) -> Self {
        let mut numbers = HashSet::new();
        for word in words(page).filter(|word| word.chars().any(|c| c.is_ascii_digit())) {
            numbers.extend(readings(word));
        }
        // Digits that spaces group are one number.
        for groups in spaced_numbers(page) {
            numbers.extend(readings(&groups.concat()));
        }
        let text = folded(page);
        let words = words(page).map(folded).collect();
        Self { words, numbers, text }
    }

    fn has(&self, claim: &Claim) -> bool {
        let has = |readings: &BTreeSet<String>| {
            readings.iter().any(|reading| self.numbers.contains(reading))
        };
        match claim {
            Claim::Number(readings) => has(readings),
            Claim::Groups(whole, parts) => has(whole) || parts.iter().all(has),
            // A language may bend a name at its end.
            Claim::Word(word) => self.words.contains(word) || self.words.contains(bare(word)),
            Claim::Quote(quote) => !quote.is_empty() && self.text.contains(quote.as_str()),
        }
    }
}

/// A name without the `s` of a genitive.
fn bare(word: &str) -> &str {
    let stem = word.strip_suffix("'s").or_else(|| word.strip_suffix("s"));
    stem.filter(|stem| stem.chars().count() > 2).unwrap_or(word)
}

/// Runs of letters and digits; signs inside a number or a word (`1,234.5`, `GPL-2`, `O'Neill`) belong
/// to it.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '.' | ',' | '\'' | '’');
    text.split(move |c: char| !inside(c))
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()))
        .filter(|word| !word.is_empty())
}

/// Numbers of a text whose digits are grouped by spaces, e.g. `1 234 567,89`, as their groups.
fn spaced_numbers(text: &str) -> Vec<Vec<&str>> {
    let mut found = Vec::new();
    let mut groups: Vec<&str> = Vec::new();
    for word in text.split_whitespace().chain([""]) {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let digits = bare.bytes().take_while(u8::is_ascii_digit).count();
        let is_number = bare.chars().all(|c| c.is_ascii_digit() || c == '.' || c == ',');
        let goes_on = !groups.is_empty() && digits == 3 && is_number;
        if goes_on {
            groups.push(bare);
        }
        // Something behind the digits, a sign or a decimal, ends the number.
        let is_whole = digits == bare.len() && word.ends_with(|c: char| c.is_ascii_digit());
        if goes_on && is_whole {
            continue;
        }
        if groups.len() > 1 {
            found.push(std::mem::take(&mut groups));
        }
        groups.clear();
        if !goes_on && is_whole && (1..=3).contains(&digits) {
            groups.push(bare);
        }
    }
    found
}

/// Every way in which the digits of `word` can be read: signs that group them left out, and the
/// last sign as a decimal point. Letters around them (`4.2m`, `Q3`) stay.
fn readings(word: &str) -> BTreeSet<String> {
    let folded = folded(word);
    let is_sign = |c: char| matches!(c, '.' | ',' | '\'' | '’');
    let grouped: String = folded.chars().filter(|c| !is_sign(*c)).collect();
    let mut readings = BTreeSet::new();
    let signs: Vec<(usize, char)> = folded.char_indices().filter(|(_, c)| is_sign(*c)).collect();
    let Some(&(last, sign)) = signs.last() else {
        readings.insert(grouped);
        return readings;
    };
    let whole: String = folded[..last].chars().filter(|c| !is_sign(*c)).collect();
    let behind = &folded[last + sign.len_utf8()..];
    let digits = behind.bytes().take_while(u8::is_ascii_digit).count();
    let once = signs.iter().filter(|(_, other)| *other == sign).count() == 1;
    // A group has three digits; a sign that comes twice groups.
    if digits == 3 {
        readings.insert(grouped);
    }
    if once {
        let behind = behind.trim_end_matches('0');
        readings.insert(if behind.is_empty() { whole } else { format!("{whole}.{behind}") });
    } else if readings.is_empty() {
        // Parts of a date or a version.
        readings.insert(folded);
    }
    readings
}

/// The text between quotation marks, of two words at least.
fn quotes(sentence: &str) -> Vec<&str> {
    const MARKS: [(char, char); 5] = [('"', '"'), ('“', '”'), ('„', '“'), ('«', '»'), ('»', '«')];
    let mut found = Vec::new();
    for (open, close) in MARKS {
        let mut left = sentence;
        while let Some(at) = left.find(open) {
            let inside = &left[at + open.len_utf8()..];
            let Some(end) = inside.find(close) else { break };
            if inside[..end].split_whitespace().count() > 1 {
                found.push(inside[..end].trim().trim_end_matches(['.', ',']));
            }
            left = &inside[end + close.len_utf8()..];
        }
    }
    found
}

/// Lower case, one space between words, plain quotation marks and dashes.
fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for part in text.split(|c: char| c.is_whitespace()).filter(|part| !part.is_empty()) {
        if !folded.is_empty() {
            folded.push(' ');
        }
        for letter in part.chars().flat_map(char::to_lowercase) {
            folded.push(match letter {
                '’' | '‘' => '\'',
                '–' | '—' | '‑' => '-',
                other => other,
            });
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::odd_texts;

    #[test]
    fn numbers_are_read_in_every_usual_way() {
        let page =
            "Total 1,234,567 and 1.234.568 and 1 234 569 and 12,5 % in Q3 2023, v1.2.3, 31.12.2023";
        for (sentence, expected) in [
            ("It is 1234567.", Support::Verbatim),
            ("It is 1.234.567.", Support::Verbatim),
            ("It is 1'234'567.", Support::Verbatim),
            ("It is 1,234,568.", Support::Verbatim),
            ("It is 1,234,569.", Support::Verbatim),
            ("It is 12.5 %.", Support::Verbatim),
            ("It is 12.50 %.", Support::Verbatim),
            ("It is 125.", Support::None),
            ("It is 1.25.", Support::None),
            ("It is 1234.", Support::None),
            ("It is 34.", Support::None),
            ("In Q3 2023 it fell.", Support::Verbatim),
            ("In Q4 2023 it fell.", Support::Partial),
            ("Version v1.2.3 of 31.12.2023.", Support::Verbatim),
            ("Version v1.2.4 is out.", Support::None),
        ] {
            assert_eq!(support(sentence, &[page]), expected, "{sentence}");
        }
    }

    #[test]
    fn names_and_quotations_must_stand_there() {
        let page = "The board of Nordmark met in Zürich.\nIt “approved  the\nannual report”.";
        for (sentence, expected) in [
            ("The meeting of Nordmark was in Zürich.", Support::Verbatim),
            ("The meeting was in ZÜRICH.", Support::Verbatim),
            ("It was Nordmark's meeting.", Support::Verbatim),
            ("The meeting of Nordmark was in Bern.", Support::Partial),
            ("They met in Bern.", Support::None),
            ("It \"approved the annual report\".", Support::Verbatim),
            ("It \"rejected the annual report\".", Support::None),
            // No claim of its own: its words.
            ("the annual report", Support::Verbatim),
            ("the annual dividend", Support::Partial),
            ("a dividend", Support::None),
            ("", Support::None),
        ] {
            assert_eq!(support(sentence, &[page]), expected, "{sentence}");
        }
        let sentence = "The meeting of Nordmark was in Zürich.";
        assert_eq!(support(sentence, &[]), Support::None);
        assert_eq!(support(sentence, &["", " \n"]), Support::Unreadable);
        assert_eq!(support(sentence, &["", "Nordmark"]), Support::Partial);
        assert_eq!(support(sentence, &["Nordmark", "Zürich"]), Support::Verbatim);
    }

    #[test]
    fn nothing_panics_on_any_text() {
        for (text, part) in odd_texts() {
            let _ = support(&text, &[&text, part]);
        }
    }
}
