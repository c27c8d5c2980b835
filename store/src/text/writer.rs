//! The write side of the text index.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use pagesight_core::{DocumentId, PageId};
use rayon::prelude::*;
use tantivy::index::SegmentId;
use tantivy::indexer::NoMergePolicy;
use tantivy::tokenizer::{PreTokenizedString, Token};
use tantivy::{Index, IndexWriter, TantivyDocument, Term};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::analysis::{Analyser, Language, Word, is_contents};
use super::pinned::PinnedDirectory;
use super::schema::{Fields, schema};
use crate::error::StoreError;

/// Pages whose words are found at a time, and held until the index has them: some megabytes.
const ANALYSED: usize = 256;

/// Memory of the writer's arena; tantivy wants at least 15 MB.
const WRITER_BYTES: usize = 32 << 20;

/// What the text index knows of a page.
#[derive(Debug, Clone)]
pub(crate) struct PageWords<'a> {
    pub id: PageId,
    pub text: &'a str,
    /// Paths and title of the document.
    pub names: &'a [String],
}

/// The write side. Nothing shows before the pointer names the meta of the commit.
pub(crate) struct TextWriter {
    path: PathBuf,
    directory: PinnedDirectory,
    index: Index,
    writer: Option<IndexWriter>,
    fields: Fields,
}

impl TextWriter {
    /// A new index in `folder`, or the one of `meta`.
    pub fn open(folder: &Path, meta: Option<&str>) -> Result<Self, StoreError> {
        let open = || -> tantivy::Result<Self> {
            let (schema, fields) = schema();
            let directory = PinnedDirectory::open(folder, meta)?;
            let index = Index::open_or_create(directory.clone(), schema)?;
            let path = folder.to_path_buf();
            Ok(Self { path, directory, index, writer: None, fields })
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
        let mut pages = pages.into_iter().peekable();
        while pages.peek().is_some() {
            // Finding the words takes longer than all the rest of it: on all cores, in order.
            let some: Vec<PageWords<'_>> = pages.by_ref().take(ANALYSED).collect();
            let documents: Vec<(String, TantivyDocument)> =
                some.par_iter().map(|page| document_of(page, &fields)).collect();
            for (key, document) in documents {
                writer.delete_term(Term::from_field_text(fields.page, &key));
                writer.add_document(document)?;
            }
        }
        writer.commit()?;
        Ok(())
    }

    /// The segments to join: those with deleted pages, whose words would go on to count, and the
    /// smallest ones when there are more than `few`.
    fn to_merge(&self, few: usize) -> tantivy::Result<Vec<SegmentId>> {
        let mut segments = self.index.searchable_segment_metas()?;
        segments.sort_by_key(|segment| (segment.num_docs(), segment.id()));
        let small = if segments.len() > few { segments.len() - few / 2 } else { 0 };
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
    pub fn files_in_use(&self) -> Result<HashSet<PathBuf>, StoreError> {
        let meta = self.index.load_metas().map_err(StoreError::text("reading", &self.path))?;
        Ok(meta.list_segment_files())
    }
}

/// What the index takes in of a page, and the key by which it finds the page again.
fn document_of(page: &PageWords<'_>, fields: &Fields) -> (String, TantivyDocument) {
    let key = page.id.to_string();
    let language = Language::of(page.text);
    let (words, length) = Analyser.read(page.text, language);
    let names: Vec<Word> =
        page.names.iter().flat_map(|name| Analyser.words(&spaced(name), None)).collect();
    let mut document = TantivyDocument::new();
    document.add_text(fields.document, page.id.document.to_string());
    document.add_text(fields.page, &key);
    document.add_u64(fields.number, u64::from(page.id.number));
    if let Some(language) = language {
        document.add_text(fields.language, language.code());
    }
    document.add_pre_tokenized_text(fields.body, tokens(&words));
    document.add_pre_tokenized_text(fields.name, tokens(&names));
    document.add_u64(fields.length, u64::from(length));
    document.add_u64(fields.language_number, Language::stored(language));
    document.add_u64(fields.contents, u64::from(is_contents(page.text)));
    (key, document)
}

/// A path or title without the marks between its words, and the ending that all have:
/// `a/UltaBeauty_2023Q4.pdf`. Marks stay with their letters, which a Mac writes apart.
fn spaced(name: &str) -> String {
    let name: String = name.nfc().collect();
    let name = name.strip_suffix(".pdf").or_else(|| name.strip_suffix(".PDF")).unwrap_or(&name);
    let is_word = |c: char| c.is_alphanumeric() || is_combining_mark(c) || c == '\'';
    name.chars().map(|c| if is_word(c) { c } else { ' ' }).collect()
}

fn tokens(words: &[Word]) -> PreTokenizedString {
    let tokens = words.iter().map(|word| Token {
        offset_from: word.range.start,
        offset_to: word.range.end,
        position: word.position as usize,
        text: word.term.clone(),
        position_length: 1,
    });
    PreTokenizedString { text: String::new(), tokens: tokens.collect() }
}
