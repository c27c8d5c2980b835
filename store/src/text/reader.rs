//! The read side of the text index: BM25 over the words of one snapshot's pages.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use pagesight_core::PageId;
use pagesight_core::seam::DocumentFilter;
use tantivy::collector::TopDocs;
use tantivy::query::{
    BooleanQuery, BoostQuery, DisjunctionMaxQuery, EnableScoring, Occur, Query, Scorer, TermQuery,
    TermSetQuery,
};
use tantivy::schema::IndexRecordOption;
use tantivy::tokenizer::Language;
use tantivy::{DocAddress, DocSet, Index, ReloadPolicy, TERMINATED, TantivyDocument, Term};

use super::analysis::{Analyser, query_forms};
use super::pinned::PinnedDirectory;
use super::schema::{Fields, LANGUAGES, schema};
use super::snippet::{Snippet, snippet};
use super::statistics::Statistics;
use crate::error::StoreError;

/// How much a match in the path or title counts beside one in the text.
const NAME_WEIGHT: f32 = 0.6;

/// A word on more than one page in this many does not show why a page was found, when there are
/// enough pages to say so.
const MOST_PAGES: u64 = 3;
const ENOUGH_PAGES: u64 = 20;

/// How much, in proportion, scores may differ by the order in which clauses are added.
const ROUNDING: f32 = 1e-5;

/// A page with fewer words is not judged by them: a scan may have a stamp or a page number.
const FEW_WORDS: u32 = 8;

/// The text index of one snapshot.
pub(crate) struct TextReader {
    path: PathBuf,
    statistics: Statistics,
    fields: Fields,
    languages: Vec<Language>,
    analyser: Mutex<Analyser>,
}

impl TextReader {
    /// Opens the segments that `meta`, tantivy's `meta.json`, names in `folder`.
    ///
    /// # Errors
    /// [`StoreError::Text`].
    pub fn open(folder: &Path, meta: &str) -> Result<Self, StoreError> {
        let open = || -> tantivy::Result<Self> {
            let (_, fields) = schema();
            let index = Index::open(PinnedDirectory::open(folder, Some(meta))?)?;
            let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
            let searcher = reader.searcher();
            let mut languages = Vec::new();
            for language in LANGUAGES {
                let term = Term::from_field_text(fields.language, &format!("{language:?}"));
                if searcher.doc_freq(&term)? > 0 {
                    languages.push(language);
                }
            }
            Ok(Self {
                path: folder.to_path_buf(),
                statistics: Statistics::new(searcher, &fields)?,
                fields,
                languages,
                analyser: Mutex::default(),
            })
        };
        open().map_err(StoreError::text("opening", folder))
    }

    /// The part of `text` that answers `query` best, its words marked. Nothing is marked when no
    /// word of the query is in it: then the page was found by its path or title.
    pub fn snippet(&self, query: &str, text: &str) -> Snippet {
        let forms = self.forms(query);
        let by_rare_words = snippet(&self.rare(&forms), text);
        if by_rare_words.marks.is_empty() { snippet(&forms, text) } else { by_rare_words }
    }

    /// The forms of each query word.
    fn forms(&self, query: &str) -> Vec<BTreeSet<String>> {
        let mut analyser = self.analyser.lock().expect("no panic under the lock");
        query_forms(&mut analyser, query, &self.languages)
    }

    /// The forms of those query words that tell pages apart: a word on most pages says nothing
    /// about one of them, unless the query has no others.
    fn rare(&self, forms: &[BTreeSet<String>]) -> Vec<BTreeSet<String>> {
        let searcher = &self.statistics.searcher;
        let pages = searcher.num_docs();
        let is_rare = |forms: &&BTreeSet<String>| {
            forms.iter().all(|form| {
                let term = Term::from_field_text(self.fields.body, form);
                // A word that cannot be looked up is marked: a snippet is no place to fail.
                searcher.doc_freq(&term).map_or(true, |n| n * MOST_PAGES <= pages.max(ENOUGH_PAGES))
            })
        };
        let rare: Vec<_> = forms.iter().filter(is_rare).cloned().collect();
        if rare.is_empty() { forms.to_vec() } else { rare }
    }

    /// The `k` best pages, best first, ties by [`PageId`].
    pub fn search(
        &self,
        query: &str,
        k: usize,
        filter: DocumentFilter<'_>,
    ) -> Result<Vec<(PageId, f32)>, StoreError> {
        let clauses = self.clauses(query);
        if clauses.is_empty() {
            return Ok(Vec::new());
        }
        let search = || -> tantivy::Result<Vec<(PageId, f32)>> {
            let searcher = &self.statistics.searcher;
            let query = self.query(&clauses, filter);
            let mut limit = k.max(1) + 1;
            let found = loop {
                let best = TopDocs::with_limit(limit).order_by_score();
                let found =
                    searcher.search_with_statistics_provider(&query, &best, &self.statistics)?;
                // Pages that only rounding parts from the last one that counts come along.
                let cut = found.get(k.max(1) - 1).map_or(0.0, |last| last.0) * (1.0 - ROUNDING);
                if found.len() < limit || found[limit - 1].0 < cut {
                    break found;
                }
                limit *= 2;
            };
            let scores = self.scores(&clauses, &found)?;
            let mut hits = Vec::with_capacity(found.len());
            for ((_, address), score) in found.into_iter().zip(scores) {
                let document: TantivyDocument = searcher.doc(address)?;
                hits.extend(self.fields.page_of(&document).map(|page| (page, score)));
            }
            hits.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            hits.truncate(k);
            Ok(hits)
        };
        search().map_err(StoreError::text("searching", &self.path))
    }

    /// The score of each page found, its clauses added in their order. tantivy adds them in an
    /// order that depends on how pages lie in its files, and the last digit with it.
    fn scores(
        &self,
        clauses: &[Box<dyn Query>],
        found: &[(f32, DocAddress)],
    ) -> tantivy::Result<Vec<f32>> {
        let searcher = &self.statistics.searcher;
        let scoring = EnableScoring::enabled_from_statistics_provider(&self.statistics, searcher);
        let mut order: Vec<usize> = (0..found.len()).collect();
        order.sort_by_key(|&i| found[i].1);
        let mut scores = vec![0.0; found.len()];
        for clause in clauses {
            let weight = clause.weight(scoring)?;
            let mut open: Option<(u32, Box<dyn Scorer>)> = None;
            for &i in &order {
                let DocAddress { segment_ord, doc_id } = found[i].1;
                let mut scorer = match open.take() {
                    Some((segment, scorer)) if segment == segment_ord => scorer,
                    _ => weight.scorer(searcher.segment_reader(segment_ord), 1.0)?,
                };
                if scorer.doc() < doc_id {
                    scorer.seek(doc_id);
                }
                if scorer.doc() == doc_id {
                    scores[i] += scorer.score();
                }
                open = Some((segment_ord, scorer));
            }
        }
        Ok(scores)
    }

    /// Those of `pages` with fewer than [`FEW_WORDS`] words.
    pub fn wordless(&self, pages: &[PageId]) -> Result<HashSet<PageId>, StoreError> {
        let wordless = || -> tantivy::Result<HashSet<PageId>> {
            let mut found = HashSet::new();
            for segment in self.statistics.searcher.segment_readers() {
                let (lengths, terms) = (
                    segment.get_fieldnorms_reader(self.fields.body)?,
                    segment.inverted_index(self.fields.page)?,
                );
                for page in pages {
                    let term = Term::from_field_text(self.fields.page, &page.to_string());
                    let postings = terms.read_postings(&term, IndexRecordOption::Basic)?;
                    let Some(mut postings) = postings else { continue };
                    while postings.doc() != TERMINATED {
                        let living = !segment.is_deleted(postings.doc());
                        if living && lengths.fieldnorm(postings.doc()) < FEW_WORDS {
                            found.insert(*page);
                        }
                        postings.advance();
                    }
                }
            }
            Ok(found)
        };
        wordless().map_err(StoreError::text("reading", &self.path))
    }

    /// Every page of the index, in no order; a page that is there twice comes twice.
    pub fn pages(&self) -> Result<Vec<PageId>, StoreError> {
        let pages = || -> tantivy::Result<Vec<PageId>> {
            let searcher = &self.statistics.searcher;
            let mut pages = Vec::with_capacity(searcher.num_docs() as usize);
            for segment in searcher.segment_readers() {
                let store = segment.get_store_reader(1)?;
                for id in segment.doc_ids_alive() {
                    let document: TantivyDocument = store.get(id)?;
                    pages.extend(self.fields.page_of(&document));
                }
            }
            Ok(pages)
        };
        pages().map_err(StoreError::text("reading", &self.path))
    }

    /// Every word once, each by its best stem; a match in body or name counts.
    fn clauses(&self, text: &str) -> Vec<Box<dyn Query>> {
        let forms = self.forms(text);
        let term = |field, form: &str| -> Box<dyn Query> {
            let term = Term::from_field_text(field, form);
            Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs))
        };
        let any = |field, forms: &BTreeSet<String>| -> Box<dyn Query> {
            let mut queries: Vec<_> = forms.iter().map(|form| term(field, form)).collect();
            match queries.len() {
                1 => queries.remove(0),
                _ => Box::new(DisjunctionMaxQuery::new(queries)),
            }
        };
        let mut clauses: Vec<Box<dyn Query>> = Vec::new();
        for forms in &forms {
            clauses.push(any(self.fields.body, forms));
            let name = BoostQuery::new(any(self.fields.name, forms), NAME_WEIGHT);
            clauses.push(Box::new(name));
        }
        // File names run words together: UltaBeauty for Ulta Beauty.
        for pair in forms.windows(2) {
            let joined: BTreeSet<String> = pair[0]
                .iter()
                .flat_map(|a| pair[1].iter().map(move |b| format!("{a}{b}")))
                .collect();
            let name = BoostQuery::new(any(self.fields.name, &joined), NAME_WEIGHT);
            clauses.push(Box::new(name));
        }
        clauses
    }

    /// Any of the clauses, within the documents of the filter.
    fn query(&self, clauses: &[Box<dyn Query>], filter: DocumentFilter<'_>) -> Box<dyn Query> {
        let clauses = clauses.iter().map(|clause| (Occur::Should, clause.box_clone())).collect();
        let words = BooleanQuery::new(clauses);
        match filter {
            None => Box::new(words),
            Some(documents) => {
                let terms = documents
                    .iter()
                    .map(|id| Term::from_field_text(self.fields.document, &id.to_string()));
                // A set scores each page alike; weight 0 keeps BM25 alone.
                let within = BoostQuery::new(Box::new(TermSetQuery::new(terms)), 0.0);
                Box::new(BooleanQuery::new(vec![
                    (Occur::Must, Box::new(words) as Box<dyn Query>),
                    (Occur::Must, Box::new(within)),
                ]))
            }
        }
    }
}
