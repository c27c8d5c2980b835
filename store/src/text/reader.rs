//! The words of all pages in tantivy: BM25 with one document a page.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use pagesight_core::seam::DocumentFilter;
use pagesight_core::{DocumentId, PageId};
use tantivy::collector::TopDocs;
use tantivy::fieldnorm::FieldNormReader;
use tantivy::index::SegmentId;
use tantivy::indexer::NoMergePolicy;
use tantivy::query::{
    Bm25StatisticsProvider, BooleanQuery, BoostQuery, DisjunctionMaxQuery, EnableScoring, Occur,
    Query, Scorer, TermQuery, TermSetQuery,
};
use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing,
    TextOptions, Value,
};
use tantivy::tokenizer::{Language, PreTokenizedString, Token};
use tantivy::{
    DocAddress, DocSet, Index, IndexWriter, ReloadPolicy, Searcher, TERMINATED, TantivyDocument,
    Term,
};

use crate::StoreError;
use crate::analysis::{Analyser, Word, language_of};
use crate::pinned::PinnedDirectory;

/// Memory of the writer's arena; tantivy wants at least 15 MB.
const WRITER_BYTES: usize = 32 << 20;

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

/// More words than any question has; a pasted page is cut here.
const MAX_QUERY_WORDS: usize = 256;

#[derive(Clone)]
struct Fields {
    /// Document id, hexadecimal.
    document: Field,
    /// `document#number`.
    page: Field,
    number: Field,
    /// Language that stemmed the page, as a debug name.
    language: Field,
    body: Field,
    /// Words of the paths and the title.
    name: Field,
}

fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let words = || {
        TextOptions::default().set_indexing_options(
            TextFieldIndexing::default().set_index_option(IndexRecordOption::WithFreqs),
        )
    };
    let fields = Fields {
        document: schema.add_text_field("document", STRING | STORED),
        page: schema.add_text_field("page", STRING),
        number: schema.add_u64_field("number", INDEXED | STORED | FAST),
        language: schema.add_text_field("language", STRING),
        body: schema.add_text_field("body", words()),
        name: schema.add_text_field("name", words()),
    };
    (schema.build(), fields)
}

/// What the text index knows of a page.
#[derive(Debug, Clone)]
pub(crate) struct PageWords<'a> {
    pub id: PageId,
    pub text: &'a str,
    /// Paths and title of the document.
    pub names: &'a [String],
}

/// The text index of one snapshot.
pub(crate) struct TextReader {
    path: PathBuf,
    statistics: Statistics,
    fields: Fields,
    languages: Vec<Language>,
    analyser: Mutex<Analyser>,
}

const LANGUAGES: [Language; 18] = [
    Language::Arabic,
    Language::Danish,
    Language::Dutch,
    Language::English,
    Language::Finnish,
    Language::French,
    Language::German,
    Language::Greek,
    Language::Hungarian,
    Language::Italian,
    Language::Norwegian,
    Language::Portuguese,
    Language::Romanian,
    Language::Russian,
    Language::Spanish,
    Language::Swedish,
    Language::Tamil,
    Language::Turkish,
];

impl TextReader {
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

    /// The forms of each query word.
    pub fn forms(&self, query: &str) -> Vec<BTreeSet<String>> {
        let mut analyser = self.analyser.lock().expect("no panic under the lock");
        query_forms(&mut analyser, query, &self.languages)
    }

    /// The forms of each query word that tells pages apart: words on most pages say nothing,
    /// unless the query has no others.
    pub fn telling_forms(&self, query: &str) -> Vec<BTreeSet<String>> {
        let forms = self.forms(query);
        let searcher = &self.statistics.searcher;
        let pages = searcher.num_docs();
        let rare = |forms: &&BTreeSet<String>| {
            forms.iter().all(|form| {
                let term = Term::from_field_text(self.fields.body, form);
                // A word that cannot be looked up is marked: a snippet is no place to fail.
                searcher.doc_freq(&term).map_or(true, |n| n * MOST_PAGES <= pages.max(ENOUGH_PAGES))
            })
        };
        let telling: Vec<_> = forms.iter().filter(rare).cloned().collect();
        if telling.is_empty() { forms } else { telling }
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
                let text = document.get_first(self.fields.document).and_then(|v| v.as_str());
                let number = document.get_first(self.fields.number).and_then(|v| v.as_u64());
                if let (Some(Ok(document)), Some(number)) = (text.map(str::parse), number) {
                    hits.push((PageId { document, number: number as u32 }, score));
                }
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

    /// Every page of the index, in no order; one that is there twice comes twice.
    pub fn pages(&self) -> Result<Vec<PageId>, StoreError> {
        let pages = || -> tantivy::Result<Vec<PageId>> {
            let searcher = &self.statistics.searcher;
            let mut pages = Vec::with_capacity(searcher.num_docs() as usize);
            for segment in searcher.segment_readers() {
                let store = segment.get_store_reader(1)?;
                for id in segment.doc_ids_alive() {
                    let document: TantivyDocument = store.get(id)?;
                    let text = document.get_first(self.fields.document).and_then(|v| v.as_str());
                    let number = document.get_first(self.fields.number).and_then(|v| v.as_u64());
                    if let (Some(Ok(document)), Some(number)) = (text.map(str::parse), number) {
                        pages.push(PageId { document, number: number as u32 });
                    }
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

/// What BM25 takes from the whole index, over the pages that are there. tantivy's own counts the
/// deleted ones, and after a merge it guesses: then the same pages would rank otherwise after
/// another history.
struct Statistics {
    searcher: Searcher,
    /// Words of each field, each page's rounded as its own length is.
    words: HashMap<Field, u64>,
}

impl Statistics {
    fn new(searcher: Searcher, fields: &Fields) -> tantivy::Result<Self> {
        let mut words = HashMap::new();
        for field in [fields.body, fields.name] {
            let mut pages_of_length = [0u64; 256];
            for segment in searcher.segment_readers() {
                let lengths = segment.get_fieldnorms_reader(field)?;
                for page in segment.doc_ids_alive() {
                    pages_of_length[usize::from(lengths.fieldnorm_id(page))] += 1;
                }
            }
            let length = |id: u8| u64::from(FieldNormReader::id_to_fieldnorm(id));
            let sum = (0..=u8::MAX).map(|id| pages_of_length[usize::from(id)] * length(id)).sum();
            words.insert(field, sum);
        }
        Ok(Self { searcher, words })
    }
}

impl Bm25StatisticsProvider for Statistics {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        Ok(self.words.get(&field).copied().unwrap_or_default())
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        Ok(self.searcher.num_docs())
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        // Until the merge at the end of a run, deleted pages count here.
        Ok(self.searcher.doc_freq(term)?.min(self.searcher.num_docs()))
    }
}

/// The stems of each word of a query under every language of the index, in the order of the
/// words, each word once.
pub(crate) fn query_forms(
    analyser: &mut Analyser,
    text: &str,
    languages: &[Language],
) -> Vec<BTreeSet<String>> {
    let under: Vec<Vec<Word>> = std::iter::once(None)
        .chain(languages.iter().copied().map(Some))
        .map(|language| analyser.words(text, language))
        .collect();
    let mut seen = HashSet::new();
    (0..under[0].len().min(MAX_QUERY_WORDS))
        .map(|i| under.iter().map(|words| words[i].term.clone()).collect::<BTreeSet<_>>())
        .filter(|forms| seen.insert(forms.clone()))
        .collect()
}

/// The write side. Nothing shows before the pointer names the meta of the commit.
pub(crate) struct TextWriter {
    path: PathBuf,
    directory: PinnedDirectory,
    index: Index,
    writer: Option<IndexWriter>,
    fields: Fields,
    analyser: Analyser,
}

impl TextWriter {
    /// A new index in `folder`, or the one of `meta`.
    pub fn open(folder: &Path, meta: Option<&str>) -> Result<Self, StoreError> {
        let open = || -> tantivy::Result<Self> {
            let (schema, fields) = schema();
            let directory = PinnedDirectory::open(folder, meta)?;
            let index = Index::open_or_create(directory.clone(), schema)?;
            let path = folder.to_path_buf();
            let analyser = Analyser::default();
            Ok(Self { path, directory, index, writer: None, fields, analyser })
        };
        open().map_err(StoreError::text("opening", folder))
    }

    /// The committed meta.
    pub fn meta(&self) -> String {
        self.directory.meta()
    }

    /// Drops the pages of `dropped` and the pages that `pages` replace, then adds `pages`.
    pub fn commit<'a>(
        &mut self,
        dropped: impl IntoIterator<Item = DocumentId>,
        pages: impl IntoIterator<Item = PageWords<'a>>,
    ) -> Result<(), StoreError> {
        let path = self.path.clone();
        self.apply(dropped, pages).map_err(StoreError::text("writing", &path))
    }

    fn writer(&mut self) -> tantivy::Result<&mut IndexWriter> {
        if self.writer.is_none() {
            // One thread keeps the order of pages, and so scores and merges, repeatable.
            let writer = self.index.writer_with_num_threads(1, WRITER_BYTES)?;
            // Merging in the background would change the files that a commit names.
            writer.set_merge_policy(Box::new(NoMergePolicy));
            self.writer = Some(writer);
        }
        Ok(self.writer.as_mut().expect("made above"))
    }

    fn apply<'a>(
        &mut self,
        dropped: impl IntoIterator<Item = DocumentId>,
        pages: impl IntoIterator<Item = PageWords<'a>>,
    ) -> tantivy::Result<()> {
        let fields = self.fields.clone();
        self.writer()?;
        let writer = self.writer.as_mut().expect("made above");
        for document in dropped {
            writer.delete_term(Term::from_field_text(fields.document, &document.to_string()));
        }
        let mut names: HashMap<DocumentId, Vec<Word>> = HashMap::new();
        for page in pages {
            let key = page.id.to_string();
            writer.delete_term(Term::from_field_text(fields.page, &key));
            let language = language_of(page.text);
            let words = self.analyser.words(page.text, language);
            let name = names.entry(page.id.document).or_insert_with(|| {
                page.names
                    .iter()
                    .flat_map(|name| self.analyser.words(&spaced(name), None))
                    .collect()
            });
            let mut document = TantivyDocument::new();
            document.add_text(fields.document, page.id.document.to_string());
            document.add_text(fields.page, key);
            document.add_u64(fields.number, u64::from(page.id.number));
            if let Some(language) = language {
                document.add_text(fields.language, format!("{language:?}"));
            }
            document.add_pre_tokenized_text(fields.body, tokens(&words));
            document.add_pre_tokenized_text(fields.name, tokens(name));
            writer.add_document(document)?;
        }
        writer.commit()?;
        Ok(())
    }

    /// The segments to join: those with deleted pages, whose words would go on to count, and the
    /// smallest ones when there are more than `few`.
    fn to_merge(&self, few: usize) -> tantivy::Result<Vec<SegmentId>> {
        let mut segments = self.index.searchable_segment_metas()?;
        segments.sort_by_key(|segment| (segment.num_docs(), segment.id()));
        let small = match segments.len() > few {
            true => segments.len() - few / 2,
            false => 0,
        };
        let wanted = segments.iter().enumerate().filter(|(i, s)| *i < small || s.has_deletes());
        Ok(wanted.map(|(_, segment)| segment.id()).collect())
    }

    pub fn segments(&self) -> Result<usize, StoreError> {
        let segments = self.index.searchable_segment_ids();
        Ok(segments.map_err(StoreError::text("reading", &self.path))?.len())
    }

    /// Whether [`merge`](Self::merge) has something to do.
    pub fn wants_merge(&self, few: usize) -> Result<bool, StoreError> {
        let ids = self.to_merge(few).map_err(StoreError::text("reading", &self.path))?;
        Ok(!ids.is_empty())
    }

    /// Joins segments: after it there are few, and none has deleted pages. Each costs a look-up
    /// a query word.
    pub async fn merge(&mut self, few: usize) -> Result<(), StoreError> {
        let path = self.path.clone();
        let merging = || StoreError::text("merging", &path);
        let ids = self.to_merge(few).map_err(merging())?;
        if !ids.is_empty() {
            let merged = self.writer().map_err(merging())?.merge(&ids);
            merged.await.map_err(merging())?;
        }
        Ok(())
    }

    /// Names of the segment files that the committed meta needs.
    pub fn living_files(&self) -> Result<HashSet<PathBuf>, StoreError> {
        let meta = self.index.load_metas().map_err(StoreError::text("reading", &self.path))?;
        Ok(meta.list_segment_files())
    }
}

/// CamelCase, snake_case and file endings into words: `a/UltaBeauty_2023Q4.pdf`.
fn spaced(name: &str) -> String {
    let name = name.strip_suffix(".pdf").or_else(|| name.strip_suffix(".PDF")).unwrap_or(name);
    let mut spaced = String::with_capacity(name.len() + 8);
    let mut before_lower = false;
    for c in name.chars() {
        if before_lower && c.is_uppercase() {
            spaced.push(' ');
        }
        before_lower = c.is_lowercase();
        spaced.push(if c.is_alphanumeric() { c } else { ' ' });
    }
    spaced
}

fn tokens(words: &[Word]) -> PreTokenizedString {
    let tokens = words.iter().enumerate().map(|(position, word)| Token {
        offset_from: word.range.start,
        offset_to: word.range.end,
        position,
        text: word.term.clone(),
        position_length: 1,
    });
    PreTokenizedString { text: String::new(), tokens: tokens.collect() }
}
