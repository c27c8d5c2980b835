//! Words for the text index: one analyser for pages, questions and snippets.
//!
//! A text goes through four steps, each in a file of its own:
//!
//! 1. [`letters`](letters::letters): letters in one form, whatever codes a file has for them;
//! 2. [`cut`](cut::cut): pieces, which are words, numbers, codes and their parts, and pairs of
//!    letters in scripts without spaces;
//! 3. [`folded`]: the spelling of those who have no key for an accent;
//! 4. [`stem`]: the stem in the language of the page.
//!
//! A word with accents is stored twice, as it is written and as it is folded, so that a question
//! finds both spellings and the one that it is written in comes first.

mod contents;
mod cut;
mod fold;
mod language;
mod letters;
mod numbers;

use std::collections::HashSet;
use std::ops::Range;

use pagesight_core::phrases;
use unicode_normalization::char::is_combining_mark;

pub(crate) use contents::is_contents;
use cut::{Kind, Piece, cut};
use fold::folded;
pub use language::Language;
pub(crate) use language::Languages;
use language::{grammar, stem};

/// Counts the changes to what words a text has. An index of another one is analysed again, from the
/// texts that it has; pages are not read or encoded again for that.
///
/// 1: what pagesight stored before it counted. 2: words cut and folded as people type them. 3: numbers
/// without the noughts at their end too, and those that begin with a point.
pub const ANALYSIS: u32 = 3;

/// More words than any question has; a pasted page is cut here.
const MAX_QUESTION_WORDS: usize = 256;

/// A searchable word and where it stands in the text, bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// As it is stored and looked up. `=` begins a word with its accents, `~` what a spelling may
    /// also stand for.
    pub term: String,
    /// Where it came from.
    pub range: Range<usize>,
    /// Counts the words of the text from 0; those that stand for the same one share it.
    pub position: u32,
}

/// Turns text into words.
#[derive(Debug, Clone, Copy, Default)]
pub struct Analyser;

impl Analyser {
    /// The words of `text`, stemmed for `language`.
    ///
    /// ```
    /// use pagesight_store::Analyser;
    /// let terms = |text| -> Vec<String> {
    ///     Analyser.words(text, None).into_iter().map(|word| word.term).collect()
    /// };
    /// assert_eq!(terms("Reports: 1,234.5"), ["report", "1234.5"]);
    /// assert_eq!(terms("10-K"), ["10k", "10", "k"]);
    /// assert_eq!(terms("résumé"), ["=résumé", "~resum"]);
    /// ```
    pub fn words(&self, text: &str, language: Option<Language>) -> Vec<Word> {
        self.read(text, language).0
    }

    /// As [`words`](Self::words), with how many words the text has when those that stand for the same
    /// one count once.
    pub(crate) fn read(&self, text: &str, language: Option<Language>) -> (Vec<Word>, u32) {
        let (pieces, count) = cut(text);
        let mut words = Vec::with_capacity(pieces.len());
        for piece in &pieces {
            for term in stored(piece, language) {
                words.push(Word { term, range: piece.range.clone(), position: piece.position });
            }
        }
        (words, count)
    }
}

/// What a page is found by for one of its pieces.
fn stored(piece: &Piece, language: Option<Language>) -> Vec<String> {
    let form = &piece.form;
    match &piece.kind {
        Kind::Word => match spellings(form) {
            None => vec![stem(form, language)],
            Some(folds) => {
                let folds = folds.iter().map(|fold| format!("~{}", stem(fold, language)));
                std::iter::once(format!("={}", stem(form, language))).chain(folds).collect()
            }
        },
        Kind::Number { other: None } | Kind::Pair | Kind::End => vec![form.clone()],
        Kind::Number { other: Some(other) } => vec![form.clone(), format!("~{other}")],
        Kind::Spaced { other } => {
            std::iter::once(form).chain(other).map(|form| format!("~{form}")).collect()
        }
        Kind::Signed { word } => vec![format!("={form}"), format!("~{}", stem(word, language))],
    }
}

/// The folded spellings of a word that has another.
fn spellings(form: &str) -> Option<Vec<String>> {
    let (plain, digraphs) = folded(form);
    (plain != form || digraphs.is_some()).then(|| std::iter::once(plain).chain(digraphs).collect())
}

/// What one word of a question is looked up by on pages in one language.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Form {
    /// The spelling of the question.
    pub exact: String,
    /// Other spellings, and readings, that pages are stored under; each holds all of them.
    pub loose: Vec<String>,
    /// Other spellings that are terms of their own.
    pub plain: Vec<String>,
    /// The pages of `exact` are among those of `loose`.
    pub exact_is_loose: bool,
}

impl Form {
    fn of(piece: &Piece, language: Option<Language>) -> Self {
        let form = &piece.form;
        let marked = |term: &String| format!("~{term}");
        match &piece.kind {
            Kind::Word => match spellings(form) {
                None => {
                    let exact = stem(form, language);
                    Self { loose: vec![marked(&exact)], exact, ..Self::default() }
                }
                Some(folds) => {
                    let exact = format!("={}", stem(form, language));
                    let plain: Vec<String> =
                        folds.iter().map(|fold| stem(fold, language)).collect();
                    let loose = plain.iter().map(marked).collect();
                    Self { exact, loose, plain, exact_is_loose: true }
                }
            },
            Kind::Number { other } => {
                let (loose, plain) = (vec![marked(form)], other.iter().cloned().collect());
                Self { exact: form.clone(), loose, plain, exact_is_loose: false }
            }
            Kind::Spaced { .. } => {
                Self { exact: form.clone(), loose: vec![marked(form)], ..Self::default() }
            }
            // C++ is not C; A+ and .NET are written without their sign, too.
            Kind::Signed { word } => {
                let is_another = form.ends_with("++") || form.ends_with('#');
                let plain = if is_another { vec![] } else { vec![stem(word, language)] };
                Self { exact: format!("={form}"), plain, ..Self::default() }
            }
            Kind::Pair | Kind::End => Self { exact: form.clone(), ..Self::default() },
        }
    }

    /// Every term, and what kind of spelling it is.
    pub fn spellings(&self) -> impl Iterator<Item = (Spelling, &String)> {
        let exact = std::iter::once((Spelling::Exact, &self.exact));
        let loose = self.loose.iter().map(|term| (Spelling::Loose, term));
        exact.chain(loose).chain(self.plain.iter().map(|term| (Spelling::Plain, term)))
    }

    /// Every term.
    pub fn terms(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.exact).chain(&self.loose).chain(&self.plain)
    }
}

/// Which of the terms of a [`Form`] one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling {
    Exact,
    Loose,
    Plain,
}

/// A word of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// What it is looked up by, and on pages in which languages.
    pub forms: Vec<(Languages, Form)>,
    /// On pages in these languages it carries no matter, and weighs nothing.
    pub idle: Languages,
    /// A part of something that is asked for as a whole, too.
    pub is_part: bool,
    /// One letter of a script without spaces: words that begin with it are asked for, too.
    pub is_letter: bool,
    /// As it was typed, folded.
    pub folded: String,
    /// Counts the words of the question; those that stand for the same one share it.
    pub position: u32,
}

impl Asked {
    /// What it is looked up by on pages in `language`.
    pub fn form(&self, language: Languages) -> Option<&Form> {
        self.forms.iter().find(|(languages, _)| languages.meets(language)).map(|(_, form)| form)
    }

    /// What this word and the next one are when they are run together.
    pub fn joined(&self, next: &Self) -> Form {
        let form = next.form(Languages::of(None)).cloned().unwrap_or_default();
        let stem = form.plain.into_iter().next().unwrap_or(form.exact);
        let exact = format!("{}{stem}", self.folded);
        Form { loose: vec![format!("~{exact}")], exact, ..Form::default() }
    }

    /// Whether a word that is stored as `term` on a page in `language` is this one.
    pub fn is(&self, term: &str, language: Languages) -> bool {
        self.form(language).is_some_and(|form| {
            form.terms().any(|own| own == term) || (self.is_letter && term.starts_with(&form.exact))
        })
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Question {
    /// Each word once, in their order.
    pub words: Vec<Asked>,
    /// What stands in quotation marks: words that follow each other, with all that may stand in each
    /// place.
    pub phrases: Vec<Vec<Vec<Asked>>>,
}

impl Question {
    /// Reads `text` for pages in `languages`, most of which are in `home`.
    pub fn new(text: &str, languages: &[Language], home: Option<Language>) -> Self {
        let mut words = asked(text, languages);
        let mut seen = HashSet::new();
        words.retain(|word| seen.insert((word.forms.clone(), word.is_letter)));
        let phrases = phrases(text).into_iter().map(|range| steps(asked(&text[range], languages)));
        let phrases: Vec<Vec<Vec<Asked>>> = phrases.filter(|steps| !steps.is_empty()).collect();
        weigh(&mut words, home);
        for word in &mut words {
            // Who quotes a word means it: "The Who".
            if phrases.iter().flatten().flatten().any(|quoted| quoted.forms == word.forms) {
                word.idle = Languages::default();
            }
        }
        // Where nothing else is asked, function words are what is asked.
        let nothing_else = words.iter().fold(Languages::every(), |all, word| all.and(word.idle));
        words.iter_mut().for_each(|word| word.idle = word.idle.without(nothing_else));
        Self { words, phrases }
    }
}

/// The words of `text`, in order.
fn asked(text: &str, languages: &[Language]) -> Vec<Asked> {
    let (pieces, _) = cut(text);
    let capitals = pieces.iter().all(|piece| piece.form.len() < 2 || piece.is_capitals);
    let is_letter = |piece: &Piece| {
        let letters = piece.form.chars().filter(|&c| !is_combining_mark(c));
        piece.kind == Kind::Pair && letters.count() == 1
    };
    let under: Vec<Option<Language>> =
        std::iter::once(None).chain(languages.iter().copied().map(Some)).collect();
    let kept = (0..pieces.len()).filter(|&at| pieces[at].kind != Kind::End);
    let words = kept.take(MAX_QUESTION_WORDS).map(|at| {
        let piece = &pieces[at];
        let mut forms: Vec<(Languages, Form)> = Vec::new();
        for &language in &under {
            let (language, form) = (Languages::of(language), Form::of(piece, language));
            match forms.iter_mut().find(|(_, other)| *other == form) {
                Some((languages, _)) => *languages = languages.with(language),
                None => forms.push((language, form)),
            }
        }
        // What is written in capitals in a question that is not is a name: IT, WHO.
        let name = piece.is_capitals && !capitals;
        let is_word = matches!(piece.kind, Kind::Word | Kind::Pair);
        Asked {
            forms,
            idle: if is_word && !name { grammar(&piece.form) } else { Languages::default() },
            is_part: piece.is_part,
            is_letter: is_letter(piece),
            folded: folded(&piece.form).0,
            position: piece.position,
        }
    });
    words.collect()
}

/// Says on which pages the function words among `words` weigh nothing: on those in a language that
/// they are of, and on all where the question is in that language. A page without a clear language is
/// taken to be in English, in the language of most pages, or in the question's.
fn weigh(words: &mut [Asked], home: Option<Language>) {
    let english = Languages::of(Language::from_code("eng"));
    let count = |language: Languages| words.iter().filter(|w| w.idle.meets(language)).count();
    let all = words.iter().fold(Languages::default(), |all, word| all.with(word.idle));
    let most = all.each().map(count).max().unwrap_or(0);
    // One word may be of any language: die is an article in German alone.
    let of_question = all.each().filter(|&language| most >= 2 && count(language) == most);
    let of_question = of_question.fold(Languages::default(), Languages::with);
    let unclear = of_question.with(english).with(Languages::of(home).without(Languages::of(None)));
    for word in words.iter_mut() {
        if word.idle.meets(of_question) {
            word.idle = Languages::every();
        } else if word.idle.meets(unclear) {
            word.idle = word.idle.with(Languages::of(None));
        }
    }
}

/// The words of a phrase by their places.
fn steps(words: Vec<Asked>) -> Vec<Vec<Asked>> {
    let mut steps: Vec<Vec<Asked>> = Vec::new();
    for word in words {
        match steps.last_mut() {
            Some(step) if step[0].position == word.position => step.push(word),
            _ => steps.push(vec![word]),
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn language(code: &str) -> Option<Language> {
        Some(Language::from_code(code).unwrap())
    }

    fn terms(text: &str, language: Option<Language>) -> Vec<String> {
        Analyser.words(text, language).into_iter().map(|word| word.term).collect()
    }

    #[test]
    fn words_numbers_and_codes() {
        for (text, expected) in [
            ("Net Sales grew.", vec!["net", "sale", "grew"]),
            ("$1,234.5 (2023)", vec!["1234.5", "2023"]),
            ("FY2023", vec!["fy2023", "fy", "2023"]),
            ("SG&A", vec!["sga", "sg", "a"]),
            ("parse_config", vec!["parseconfig", "pars", "config"]),
            ("userAccountId", vec!["useraccountid", "user", "account", "id"]),
            ("HTTPServer PDFs", vec!["httpserver", "http", "server", "pdfs"]),
            ("C++, C# or C", vec!["=c++", "~c", "=c#", "~c", "or", "c"]),
            ("C++11", vec!["=c++", "~c", "11"]),
            (".NET or rated AA+", vec!["=.net", "~net", "or", "rate", "=aa+", "~aa"]),
            ("www.example.net N+1", vec!["wwwexamplenet", "www", "exampl", "net", "n1", "n", "1"]),
            ("v2.10.3-rc1", vec!["v2103rc1", "2.10.3", "v2", "2", "10.3", "rc1", "rc", "1"]),
            ("to the 🚀moon", vec!["to", "the", "🚀", "moon"]),
            ("12,5 1.234 31.12.2024", vec!["12.5", "1.234", "~1234", "31.12.2024", "2024"]),
            ("1\u{A0}234\u{A0}567,8", vec!["1234567.8"]),
            ("98 765", vec!["~98765", "~98.765", "98", "765"]),
            ("1,250,000.00", vec!["1250000.00", "~1250000"]),
            ("250 000,00", vec!["~250000.00", "~250000", "250", "000.00"]),
            (".80 or $.5", vec!["0.80", "~0.8", "80", "or", "0.5", "5"]),
            ("12.50 2.0 5.00", vec!["12.50", "~12.5", "2.0", "5.00", "~5"]),
            ("p.80 Contents ....14", vec!["p80", "p", "80", "content", "14"]),
            ("Casting of bells ........ 14,250", vec!["cast", "of", "bell", "14250", "~14.250"]),
            ("Name:Smithson May.Afterwards", vec!["name", "smithson", "may", "afterward"]),
            ("¿?!", vec![]),
        ] {
            assert_eq!(terms(text, None), expected, "{text}");
        }
    }

    #[test]
    fn apostrophes_are_looked_into() {
        for (text, expected) in [
            ("Amcor's plants", vec!["amcor", "plant"]),
            ("Amcor’s", vec!["amcor"]),
            ("O’Brien", vec!["obrien", "brien"]),
            ("D'Angelo", vec!["dangelo", "angelo"]),
            ("don’t", vec!["dont"]),
            ("they'll", vec!["they"]),
            ("צה״ל", vec!["צהל"]),
        ] {
            assert_eq!(terms(text, None), expected, "{text}");
        }
        for (text, code, expected) in [
            ("l’entreprise", "fra", vec!["entrepris"]),
            ("qu'elle L'USINE", "fra", vec!["elle", "usin"]),
            ("м'ята", "ukr", vec!["мята"]),
            ("dell'acquedotto", "ita", vec!["acquedott"]),
            (
                "Türkiye’nin",
                "tur",
                vec!["=türkiye", "~turkiye", "~tuerkiye", "=türki", "~turki", "~tuerki", "nin"],
            ),
        ] {
            let got = terms(text, language(code));
            assert_eq!(got.len(), expected.len(), "{got:?}");
            assert!(got.iter().zip(&expected).all(|(got, want)| got.starts_with(want)), "{got:?}");
        }
    }

    #[test]
    fn accents_are_folded_before_the_stem() {
        assert_eq!(terms("résumé", None), ["=résumé", "~resum"]);
        assert_eq!(terms("resume", None), ["resum"]);
        assert_eq!(terms("Straße", language("deu")), ["=strass", "~strass"]);
        assert_eq!(terms("отчёты", None)[1], "~отчет");
        assert_eq!(terms("отчеты", None), ["отчет"]);
        assert_eq!(terms("كتاب\u{200C}های", None), ["كتاب", "هاي"]);
    }

    #[test]
    fn scripts_without_spaces_are_pairs_that_go_on_across_lines() {
        for (text, expected) in [
            ("东京 都", vec!["东京", "京都", "都"]),
            ("日本語PDF", vec!["日本", "本語", "語", "pdf"]),
            ("検索の研\n究", vec!["検索", "索の", "の研", "研究", "究"]),
            ("研 究 開 発", vec!["研究", "究開", "開発", "発"]),
            ("한국어", vec!["한국", "국어", "어"]),
            ("서 울 시", vec!["서울", "울시", "시"]),
            ("지하\n철도", vec!["지하", "하철", "철도", "도"]),
            ("지하 철도", vec!["지하", "하", "철도", "도"]),
            ("ｶﾞｽ", vec!["ガス", "ス"]),
            ("⽇本", vec!["日本", "本"]),
            ("กรุงเทพ", vec!["กรุ", "รุง", "งเ", "เท", "ทพ", "พ"]),
            ("水", vec!["水"]),
        ] {
            assert_eq!(terms(text, None), expected, "{text}");
        }
    }

    #[test]
    fn a_hyphen_at_a_line_end_is_read_both_ways() {
        for text in ["well-\nknown", "well\u{AD}known", "well-  \r\n known", "well¬\nknown"] {
            assert_eq!(terms(text, None), ["wellknown", "well", "known"], "{text:?}");
        }
        assert_eq!(terms("2019-\n2020", None), ["2019", "2020"]);
        assert_eq!(terms("well -\nknown", None), ["well", "known"]);
    }

    #[test]
    fn ranges_point_into_the_text() {
        let text = "Die «Häuser» 10-K, 東京都 ｶﾞｽ l’eau 1\u{202F}234 well-\nknown";
        for word in Analyser.words(text, None) {
            assert!(text.get(word.range.clone()).is_some(), "{word:?}");
        }
        let words = Analyser.words(text, None);
        assert_eq!(&text[words[1].range.clone()], "Häuser");
        assert!(words.windows(2).all(|pair| pair[0].position <= pair[1].position));
    }

    #[test]
    fn a_question_is_cut_as_pages_are() {
        let languages = ["eng", "fra", "deu", "jpn"].map(|code| Language::from_code(code).unwrap());
        let texts = [
            ".80",
            "12.50",
            "parse_config_file",
            "O'Brien l'eau",
            "1,234 12,5 98 765",
            "東京都",
            "C++",
            "Müller",
            "well-\nknown",
            "résumés",
            "FY2023",
        ];
        for text in texts {
            for language in std::iter::once(None).chain(languages.map(Some)) {
                let stored = terms(text, language);
                for word in Question::new(text, &languages, None).words {
                    let of_page = Languages::of(language);
                    assert!(stored.iter().any(|term| word.is(term, of_page)), "{text}: {word:?}");
                }
            }
        }
    }

    #[test]
    fn function_words_weigh_nothing_where_they_are_function_words() {
        let languages = ["eng", "deu"].map(|code| Language::from_code(code).unwrap());
        let of = |code| Languages::of(language(code));
        let idle = |question: &str, on: Languages| -> Vec<String> {
            let words = Question::new(question, &languages, language("eng")).words;
            let idle = words.iter().filter(|word| word.idle.meets(on));
            idle.map(|word| word.folded.clone()).collect()
        };
        assert_eq!(idle("What is the revenue?", of("eng")), ["what", "is", "the"]);
        // The question is in English: it is so on every page.
        assert_eq!(idle("What is the revenue?", of("deu")), ["what", "is", "the"]);
        assert_eq!(idle("What is the revenue?", Languages::of(None)), ["what", "is", "the"]);
        assert_eq!(idle("die casting", of("deu")), ["die"]);
        assert_eq!(idle("die casting", of("eng")), Vec::<String>::new());
        assert_eq!(idle("budget of IT", of("eng")), ["of"]);
        assert_eq!(idle("The Who", of("eng")), Vec::<String>::new());
        assert_eq!(idle("where was \"The Who\"", of("eng")), ["where", "was"]);
    }
}
