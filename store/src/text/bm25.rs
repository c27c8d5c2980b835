//! Okapi BM25 over the pages of a text index, word by word.
//!
//! tantivy finds and counts; the scores are ours, because three things are asked of them that its
//! own scorers do not do. A word is looked up by the stem of each page's language and by no other;
//! spellings of a word count together, as one word with one rarity, and the spelling of the question
//! counts most; and a sum has one order, so that the same pages get the same scores to the last digit
//! however they lie in files.
//!
//! The score of a page is the sum over the words of a question of
//!
//! `idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / average length))`,
//! `idf = ln(1 + (N - n + 0.5) / (n + 0.5))`, with `n` of `N` pages having the word
//!
//! (Robertson, Walker, Jones, Hancock-Beaulieu and Gatford 1994, "Okapi at TREC-3").

use std::collections::HashMap;

use pagesight_core::{Frequencies, WordFacts};
use rayon::prelude::*;
use tantivy::postings::{Postings, SegmentPostings};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocId, DocSet, Searcher, SegmentReader, TERMINATED, Term};

use super::analysis::{Asked, Form, Language, Languages, Question, Spelling};

/// How soon more of the same word adds no more, and how much a page's length counts: the values
/// that the literature's baselines have.
const K1: f32 = 1.2;
const B: f32 = 0.75;

/// What another spelling of a word counts beside the one that is asked for.
const OTHER_SPELLING: f32 = 0.8;

/// What a part of a code or of a compound counts beside a word: the whole is asked for, too.
const PART: f32 = 0.8;

/// How much a match in the path or title counts beside one in the text.
const NAME: f32 = 0.3;

/// What the score of a table of contents is multiplied by: the page that it leads to is meant.
const CONTENTS: f32 = 0.3;

/// Words that begin with a letter, which are looked at when it is asked for alone.
const MOST_WORDS: usize = 4_096;

/// Pages whose facts are read at a time by a thread.
const AT_A_TIME: usize = 1 << 14;

/// Where the words are, and what else a page has.
#[derive(Clone, Copy)]
pub(crate) struct Columns {
    /// The words of the text.
    pub body: Field,
    /// The words of path and title.
    pub name: Field,
    /// The names of stemmers, of pages of before.
    pub stemmer: Field,
    /// Names of the fast fields.
    pub length: &'static str,
    pub language: &'static str,
    pub contents: &'static str,
}

/// What is known of a page without its words.
#[derive(Debug, Clone, Copy)]
struct Page {
    /// Words of its text.
    length: u32,
    name_length: u32,
    /// As [`Language::stored`], or [`ANY`].
    language: u8,
    is_contents: bool,
}

/// A page that was analysed before languages were kept: it may have stems of any.
const ANY: u8 = u8::MAX;

/// The pages of a snapshot that this machine has, ready to be scored.
pub(crate) struct Corpus {
    searcher: Searcher,
    columns: Columns,
    segments: Vec<Vec<Page>>,
    facts: WordFacts,
}

/// Where a word is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Text,
    Name,
}

/// What decides what a word is worth: of all pages that are ranked, wherever they are.
pub(crate) struct Statistics {
    /// Living pages.
    pub pages: u64,
    average_length: f32,
    average_name: f32,
    /// The languages of the pages, those of most first.
    pub languages: Vec<Language>,
    /// That of most pages; `None` where pages do not say theirs.
    pub home: Option<Language>,
    /// The languages of the pages, and none for names and pages whose language is not known.
    present: Languages,
}

impl Statistics {
    pub fn of(facts: &WordFacts) -> Self {
        let language = |stored: u64| Language::from_stored(stored);
        let counted = facts.languages.iter().filter_map(|(&of, &n)| Some((language(of)?, n)));
        let mut counted: Vec<(Language, u64)> = counted.collect();
        counted.sort_by_key(|&(language, count)| (std::cmp::Reverse(count), language));
        let mut languages: Vec<Language> = counted.into_iter().map(|(of, _)| of).collect();
        let home = languages.first().copied();
        let present = languages.iter().map(|&language| Languages::of(Some(language)));
        let present = present.fold(Languages::of(None), Languages::with);
        if languages.is_empty() {
            languages = Language::all()
                .filter(|&of| facts.stems.contains(&Language::stored(Some(of))))
                .collect();
        }
        let average = |sum: u64| (sum as f64 / (facts.pages as f64).max(1.0)).max(1.0) as f32;
        let (average_length, average_name) = (average(facts.words), average(facts.name_words));
        Self { pages: facts.pages, average_length, average_name, languages, home, present }
    }

    /// What `query` asks of these pages.
    pub fn question(&self, query: &str) -> Question {
        Question::new(query, &self.languages, self.home)
    }

    fn idf(&self, with: u64) -> f32 {
        let (all, with) = (self.pages as f32, with as f32);
        (1.0 + (all - with + 0.5) / (with + 0.5)).ln()
    }
}

/// The terms of the words of `question`, in one order.
pub(crate) fn terms(question: &Question) -> impl Iterator<Item = &str> {
    question.words.iter().flat_map(terms_of)
}

/// The terms of a word, in one order.
pub(crate) fn terms_of(word: &Asked) -> impl Iterator<Item = &str> {
    word.forms.iter().flat_map(|(_, form)| form.terms()).map(String::as_str)
}

/// A page that was found, by its place: segment and number in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scored {
    pub segment: usize,
    pub page: DocId,
    pub score: f32,
}

impl Corpus {
    pub fn open(searcher: Searcher, columns: Columns) -> tantivy::Result<Self> {
        let mut segments = Vec::new();
        let mut of_all = WordFacts::default();
        for segment in searcher.segment_readers() {
            let pages = pages(segment, columns)?;
            of_all = of_all.and(&facts(segment, &pages));
            segments.push(pages);
        }
        if of_all.languages.is_empty() {
            // Pages of before have the stemmer's name alone.
            for language in Language::all() {
                let Some(stemmer) = language.stemmer() else { continue };
                let term = Term::from_field_text(columns.stemmer, &stemmer);
                if searcher.doc_freq(&term)? > 0 {
                    of_all.stems.insert(Language::stored(Some(language)));
                }
            }
        }
        Ok(Self { searcher, columns, segments, facts: of_all })
    }

    pub fn searcher(&self) -> &Searcher {
        &self.searcher
    }

    /// What is known of these pages.
    pub fn facts(&self) -> &WordFacts {
        &self.facts
    }

    /// Words of the text of a page.
    pub fn length(&self, segment: usize, page: DocId) -> u32 {
        self.segments[segment][page as usize].length
    }

    /// Looks up what `question` asks, in one order: `visit` hears of each look-up which word it is of,
    /// where it was looked for, and on which of these pages it is.
    fn look_up(
        &self,
        question: &Question,
        all: &Statistics,
        mut visit: impl FnMut(&Asked, Place, Vec<Vec<(DocId, f32)>>),
    ) -> tantivy::Result<()> {
        let mut tallies: Vec<Tallies> =
            self.segments.iter().map(|s| Tallies::new(s.len())).collect();
        let next = question.words.iter().skip(1).map(Some).chain([None]);
        for (word, next) in question.words.iter().zip(next) {
            if all.present.without(word.idle) == Languages::default() {
                // It would be counted on most pages, for nothing.
                continue;
            }
            let body = self.columns.body;
            let counts = self.counts(body, &word.forms, word.is_letter, &mut tallies)?;
            visit(word, Place::Text, counts);
            if word.idle.meets(Languages::of(None)) {
                continue;
            }
            // File names run words together: UltaBeauty for Ulta Beauty.
            let alone = word.form(Languages::of(None)).cloned();
            for form in alone.into_iter().chain(next.map(|next| word.joined(next))) {
                let forms = [(Languages::every(), form)];
                let counts = self.counts(self.columns.name, &forms, false, &mut tallies)?;
                visit(word, Place::Name, counts);
            }
        }
        Ok(())
    }

    /// On how many of these pages what `question` asks is; `all` are the statistics of all pages.
    pub fn frequencies(
        &self,
        question: &Question,
        all: &Statistics,
    ) -> tantivy::Result<Frequencies> {
        let mut frequencies = Frequencies::default();
        self.look_up(question, all, |_, _, counts| {
            frequencies.words.push(counts.iter().map(Vec::len).sum::<usize>() as u64);
        })?;
        for term in terms(question) {
            frequencies.terms.push(self.pages_with(term)?);
        }
        Ok(frequencies)
    }

    /// On how many pages a term is, dropped ones included.
    pub fn pages_with(&self, term: &str) -> tantivy::Result<u64> {
        self.searcher.doc_freq(&Term::from_field_text(self.columns.body, term))
    }

    /// The pages that have a word of `question`, all of its phrases, and are `within`, in no order;
    /// and the score of a page that says nothing but what is asked, over and over. What a word is worth
    /// is decided by the statistics of `all` pages, and by how many `have` it; `None` where these are
    /// all pages.
    pub fn score(
        &self,
        question: &Question,
        (all, have): (&Statistics, Option<&Frequencies>),
        within: impl Fn(usize, DocId) -> bool,
    ) -> tantivy::Result<(Vec<Scored>, f32)> {
        let (mut most, mut at) = (0.0, 0);
        let mut scores: Vec<Vec<f32>> = self.segments.iter().map(|s| vec![0.0; s.len()]).collect();
        self.look_up(question, all, |word, place, counts| {
            let with = match have {
                Some(have) => have.words.get(at).copied().unwrap_or(0),
                None => counts.iter().map(Vec::len).sum::<usize>() as u64,
            };
            at += 1;
            let weight = if word.is_part { PART } else { 1.0 };
            let idf = all.idf(with) * weight;
            match place {
                Place::Text => {
                    most += idf * (K1 + 1.0);
                    for (segment, counts) in counts.iter().enumerate() {
                        for &(page, count) in counts {
                            let facts = self.segments[segment][page as usize];
                            if !word.idle.meets(facts.grammar()) {
                                let length = facts.length as f32 / all.average_length;
                                scores[segment][page as usize] += idf * saturated(count, length);
                            }
                        }
                    }
                }
                Place::Name => {
                    let idf = idf * NAME;
                    for (segment, counts) in counts.iter().enumerate() {
                        for &(page, count) in counts {
                            let length = self.segments[segment][page as usize].name_length as f32;
                            let length = length / all.average_name;
                            scores[segment][page as usize] += idf * saturated(count, length);
                        }
                    }
                }
            }
        })?;
        let mut found = Vec::new();
        for (segment, scores) in scores.into_iter().enumerate() {
            let quoted = self.with_phrases(segment, &question.phrases)?;
            for (page, score) in scores.into_iter().enumerate().filter(|&(_, score)| score > 0.0) {
                let page = page as DocId;
                let has_all =
                    quoted.as_ref().is_none_or(|pages| pages.binary_search(&page).is_ok());
                if has_all && within(segment, page) {
                    let is_contents = self.segments[segment][page as usize].is_contents;
                    let score = if is_contents { score * CONTENTS } else { score };
                    found.push(Scored { segment, page, score });
                }
            }
        }
        Ok((found, most))
    }

    /// For each segment, the living pages with a word, and how often they have it: other spellings
    /// count less.
    fn counts(
        &self,
        field: Field,
        forms: &[(Languages, Form)],
        is_letter: bool,
        tallies: &mut [Tallies],
    ) -> tantivy::Result<Vec<Vec<(DocId, f32)>>> {
        let mut all = Vec::with_capacity(self.segments.len());
        let segments = self.searcher.segment_readers().iter().zip(&self.segments);
        for ((segment, pages), tallies) in segments.zip(tallies) {
            for (languages, form) in forms {
                for (spelling, term) in form.spellings() {
                    for mut postings in postings(segment, field, term, is_letter, false)? {
                        while postings.doc() != TERMINATED {
                            let page = postings.doc();
                            if pages[page as usize].stems().meets(*languages) {
                                tallies.add(page, spelling, postings.term_freq(), is_letter);
                            }
                            postings.advance();
                        }
                    }
                }
            }
            let exact_is_loose = forms.iter().any(|(_, form)| form.exact_is_loose);
            let counts = tallies.take(exact_is_loose);
            all.push(counts.filter(|(page, _)| !segment.is_deleted(*page)).collect());
        }
        Ok(all)
    }

    /// The pages of a segment that have all of `phrases`, in order; `None` when there are none.
    fn with_phrases(
        &self,
        segment: usize,
        phrases: &[Vec<Vec<Asked>>],
    ) -> tantivy::Result<Option<Vec<DocId>>> {
        let known = self.has_places(segment);
        let mut pages: Option<Vec<DocId>> = None;
        for phrase in phrases {
            let mut before: Option<Places> = None;
            for step in phrase {
                let mut here = self.places(segment, step, pages.as_deref())?;
                if let Some(before) = before.filter(|_| known) {
                    here.retain(|page, places| {
                        let there = before.get(page).map_or(&[][..], Vec::as_slice);
                        places.retain(|&at| follows(at, there));
                        !places.is_empty()
                    });
                }
                let mut left: Vec<DocId> = here.keys().copied().collect();
                left.sort_unstable();
                (pages, before) = (Some(left), Some(here));
            }
        }
        Ok(pages)
    }

    /// Where the words of a step, any of which may stand there, are on the living pages of a segment,
    /// or on those of `within`, which are in order.
    fn places(
        &self,
        segment: usize,
        step: &[Asked],
        within: Option<&[DocId]>,
    ) -> tantivy::Result<Places> {
        let reader = self.searcher.segment_reader(segment as u32);
        let pages = &self.segments[segment];
        let mut places = Places::new();
        let mut at = Vec::new();
        for (word, languages, form) in
            step.iter().flat_map(|word| word.forms.iter().map(move |(of, form)| (word, of, form)))
        {
            for (_, term) in form.spellings() {
                for postings in postings(reader, self.columns.body, term, word.is_letter, true)? {
                    each_page(postings, within, |page, postings| {
                        let fits = pages[page as usize].stems().meets(*languages);
                        if fits && !reader.is_deleted(page) {
                            postings.positions(&mut at);
                            places.entry(page).or_default().extend_from_slice(&at);
                        }
                    });
                }
            }
        }
        for places in places.values_mut() {
            places.sort_unstable();
            places.dedup();
        }
        Ok(places)
    }

    /// Whether places were kept when the pages of `segment` were analysed.
    fn has_places(&self, segment: usize) -> bool {
        let schema = self.searcher.segment_reader(segment as u32).schema();
        let option = schema.get_field_entry(self.columns.body).field_type().index_record_option();
        option.is_some_and(IndexRecordOption::has_positions)
    }
}

/// Where words stand on pages, in order.
type Places = HashMap<DocId, Vec<u32>>;

/// Whether one of `there` is the place before `at`, or the same: the parts of a word that a line's end
/// cut share its place.
fn follows(at: u32, there: &[u32]) -> bool {
    let is_there = |at: u32| there.binary_search(&at).is_ok();
    is_there(at) || at.checked_sub(1).is_some_and(is_there)
}

/// Visits the pages of `postings`, or those of them that are `within`, which are in order.
fn each_page(
    mut postings: SegmentPostings,
    within: Option<&[DocId]>,
    mut visit: impl FnMut(DocId, &mut SegmentPostings),
) {
    match within {
        None => {
            while postings.doc() != TERMINATED {
                visit(postings.doc(), &mut postings);
                postings.advance();
            }
        }
        Some(within) => {
            for &page in within {
                if postings.doc() < page {
                    postings.seek(page);
                }
                if postings.doc() == page {
                    visit(page, &mut postings);
                }
            }
        }
    }
}

/// How near the first of many the best repetition comes, for a page `length` times as long as the
/// average.
fn saturated(count: f32, length: f32) -> f32 {
    count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length))
}

/// How often pages have the spellings of a word; zero but for those that are `touched`.
struct Tallies {
    tallies: Vec<[u32; 3]>,
    touched: Vec<DocId>,
}

impl Tallies {
    fn new(pages: usize) -> Self {
        Self { tallies: vec![[0; 3]; pages], touched: Vec::new() }
    }

    /// Each term of another spelling stands for all of them, so the most counts; the words that begin
    /// with a letter are counted together.
    fn add(&mut self, page: DocId, spelling: Spelling, count: u32, is_sum: bool) {
        let tally = &mut self.tallies[page as usize];
        if *tally == [0; 3] {
            self.touched.push(page);
        }
        let before = &mut tally[spelling as usize];
        *before = if is_sum { *before + count } else { count.max(*before) };
    }

    /// What the pages that were touched come to, and zero again.
    fn take(&mut self, exact_is_loose: bool) -> impl Iterator<Item = (DocId, f32)> {
        let tallies = &mut self.tallies;
        self.touched.drain(..).map(move |page| {
            let [exact, loose, plain] = std::mem::take(&mut tallies[page as usize]);
            let loose = if exact_is_loose { loose.saturating_sub(exact) } else { loose };
            (page, exact as f32 + OTHER_SPELLING * loose.max(plain) as f32)
        })
    }
}

impl Page {
    /// The languages whose stems it has.
    fn stems(self) -> Languages {
        match self.language {
            ANY => Languages::every(),
            stored => Language::read(u64::from(stored)),
        }
    }

    /// The language whose function words say nothing on it.
    fn grammar(self) -> Languages {
        Language::read(u64::from(self.language))
    }
}

/// What is known of each page of a segment.
fn pages(segment: &SegmentReader, columns: Columns) -> tantivy::Result<Vec<Page>> {
    let names = segment.get_fieldnorms_reader(columns.name)?;
    let fast = segment.fast_fields();
    let known = fast.column_opt::<u64>(columns.length)?.is_some();
    let lengths = segment.get_fieldnorms_reader(columns.body)?;
    let page = |page: DocId| Page {
        length: lengths.fieldnorm(page),
        name_length: names.fieldnorm(page),
        language: ANY,
        is_contents: false,
    };
    let mut pages: Vec<Page> = (0..segment.max_doc()).into_par_iter().map(page).collect();
    if known {
        let length = fast.column_first_or_default::<u64>(columns.length)?;
        let language = fast.column_first_or_default::<u64>(columns.language)?;
        let contents = fast.column_first_or_default::<u64>(columns.contents)?;
        pages.par_chunks_mut(AT_A_TIME).enumerate().for_each(|(part, pages)| {
            let (mut of_part, start) = (vec![0; pages.len()], (part * AT_A_TIME) as u64);
            length.get_range(start, &mut of_part);
            for (page, length) in pages.iter_mut().zip(&of_part) {
                page.length = u32::try_from(*length).unwrap_or(u32::MAX);
            }
            language.get_range(start, &mut of_part);
            for (page, language) in pages.iter_mut().zip(&of_part) {
                page.language = u8::try_from(*language).unwrap_or(0);
            }
            contents.get_range(start, &mut of_part);
            for (page, contents) in pages.iter_mut().zip(&of_part) {
                page.is_contents = *contents != 0;
            }
        });
    }
    Ok(pages)
}

/// What is known of the living ones of `pages`, those of `segment`, together.
fn facts(segment: &SegmentReader, pages: &[Page]) -> WordFacts {
    let parts = pages.par_chunks(AT_A_TIME).enumerate().map(|(part, pages)| {
        let (mut facts, mut languages) = (WordFacts::default(), [0; 1 + ANY as usize]);
        for (page, number) in pages.iter().zip((part * AT_A_TIME) as DocId..) {
            if segment.is_deleted(number) {
                continue;
            }
            facts.pages += 1;
            facts.words += u64::from(page.length);
            facts.name_words += u64::from(page.name_length);
            languages[usize::from(page.language)] += 1;
        }
        let known = (0..)
            .zip(languages)
            .filter(|&(stored, pages)| pages > 0 && Language::from_stored(stored).is_some());
        WordFacts { languages: known.collect(), ..facts }
    });
    parts.reduce(WordFacts::default, |some, others| some.and(&others))
}

/// The postings of `term`; where it is a letter, of the words that begin with it, too.
fn postings(
    segment: &SegmentReader,
    field: Field,
    term: &str,
    is_letter: bool,
    places: bool,
) -> tantivy::Result<Vec<SegmentPostings>> {
    let option = if places {
        IndexRecordOption::WithFreqsAndPositions
    } else {
        IndexRecordOption::WithFreqs
    };
    let index = segment.inverted_index(field)?;
    if !is_letter {
        let postings = index.read_postings(&Term::from_field_text(field, term), option)?;
        return Ok(postings.into_iter().collect());
    }
    let mut words = index.terms().range().ge(term).into_stream()?;
    let mut found = Vec::new();
    while words.advance() && words.key().starts_with(term.as_bytes()) && found.len() < MOST_WORDS {
        found.push(index.read_postings_from_terminfo(words.value(), option)?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_count_once() {
        let mut tallies = Tallies::new(4);
        // Two résumé and one resumé, all of which are stored as ~resum, and three resume.
        tallies.add(2, Spelling::Exact, 2, false);
        tallies.add(2, Spelling::Loose, 3, false);
        tallies.add(2, Spelling::Plain, 3, false);
        tallies.add(1, Spelling::Loose, 1, false);
        let counts: Vec<(DocId, f32)> = tallies.take(true).collect();
        assert_eq!(counts, [(2, 2.0 + OTHER_SPELLING * 3.0), (1, OTHER_SPELLING)]);
        assert_eq!(tallies.take(true).count(), 0);
        assert!(tallies.tallies.iter().all(|tally| *tally == [0; 3]));
    }

    #[test]
    fn more_of_a_word_adds_less_and_less() {
        assert!((saturated(1.0, 1.0) - 1.0).abs() < 1e-6);
        assert!(saturated(2.0, 1.0) < 2.0 * saturated(1.0, 1.0));
        assert!(saturated(1.0, 2.0) < saturated(1.0, 1.0));
        assert!(saturated(1e6, 1.0) < K1 + 1.0);
    }
}
