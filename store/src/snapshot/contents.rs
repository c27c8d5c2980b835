//! What a snapshot knows of itself.

use std::collections::BTreeMap;

use pagesight_core::{EmbedderRecord, ModelRecord, PatchLayout, Quality, Slices};
use serde::{Deserialize, Serialize};

/// One consistent version of the whole index: its documents, pages, vectors and words as one
/// commit left them. How it lies on disk is described in `store/src/snapshot/pointer.rs` and is
/// not part of the API.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub(crate) format: u32,
    pub(crate) number: u64,
    pub(crate) created_s: u64,
    /// Version of the Lance table `documents`.
    pub(crate) documents_version: u64,
    /// Version of the Lance table `pages`.
    pub(crate) pages_version: u64,
    /// tantivy's `meta.json`, whole: the segments that belong to this snapshot.
    pub(crate) text_meta: String,
    /// Which [analysis](crate::ANALYSIS) the words are of.
    pub(crate) analysis: u32,
    pub(crate) model: Option<ModelRecord>,
    /// How the pages are laid out that an earlier format wrote, without a layout of their own.
    pub(crate) grid: Option<Grid>,
    pub(crate) dim: usize,
    pub(crate) documents: u64,
    pub(crate) pages: u64,
    /// Segments of codes in `codes/`, the oldest first; `None` before the vectors of an index of
    /// an earlier version are coded.
    pub(crate) codes: Option<Vec<String>>,
    /// The meaning of the pages' text; `None` for an index without.
    pub(crate) passages: Option<Passages>,
    /// Its user wants no passages in this index.
    pub(crate) no_passages: bool,
    pub(crate) tuning: Option<Tuning>,
    pub(crate) compact: Option<Compact>,
    /// Where the rows of pages lie in their table, a file in `addresses/`; `None` for an index that is
    /// not large.
    pub(crate) addresses: Option<String>,
    /// Every file that belongs to the snapshot, by its path below the index folder.
    pub(crate) files: BTreeMap<String, FileMark>,
}

impl Snapshot {
    /// Version of the format that the index was last written in, at most [`FORMAT`](crate::FORMAT).
    pub fn format(&self) -> u32 {
        self.format
    }

    /// Counts commits, from 1 for the empty index.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When it was committed, seconds since 1970.
    pub fn created_s(&self) -> u64 {
        self.created_s
    }

    /// The model of the stored vectors; `None` for an index of words only.
    pub fn model(&self) -> Option<&ModelRecord> {
        self.model.as_ref()
    }

    /// The grids of slices that pages of an index of formats 1 to 4 were cut into. In format 1 the
    /// recipe of the model is not stored, so this is the only place that says it.
    pub fn slices(&self) -> Option<&Slices> {
        self.grid.as_ref().map(|grid| &grid.slices)
    }

    /// Which analysis the words are of: where it is not [`ANALYSIS`](crate::ANALYSIS), the next
    /// writer analyses them anew.
    pub fn analysis(&self) -> u32 {
        self.analysis
    }

    /// Row length of the stored vectors, or of those that the index expects.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Paths in the ledger.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// Pages stored.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// The model that encoded the passages of the pages; `None` for an index without them.
    pub fn embedder(&self) -> Option<&EmbedderRecord> {
        self.passages.as_ref().map(|passages| &passages.embedder)
    }

    /// Whether this index was told to have no passages.
    pub fn wants_no_passages(&self) -> bool {
        self.no_passages
    }

    /// Size of the files of the passages, bytes.
    pub fn passage_bytes(&self) -> u64 {
        let named: Vec<&str> =
            self.passages.iter().flat_map(Passages::names).map(String::as_str).collect();
        let is_named = |file: &str| file.rsplit('/').next().is_some_and(|f| named.contains(&f));
        let files = self.files.iter().filter(|(file, _)| is_named(file));
        files.map(|(_, mark)| mark.bytes).sum()
    }

    /// How searches are shortened; `None` leaves it to them.
    pub fn tuning(&self) -> Option<&Tuning> {
        self.tuning.as_ref()
    }

    /// What the index was measured to lose by keeping its vectors in residual codes alone; `None`
    /// when it has them in full precision.
    pub fn compact(&self) -> Option<&Compact> {
        self.compact.as_ref()
    }

    /// Size of all files that belong to the snapshot, bytes.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|mark| mark.bytes).sum()
    }

    /// The layout of pages that have vectors and no layout of their own.
    pub(crate) fn old_layout(&self) -> Option<PatchLayout> {
        self.grid.as_ref().map(Grid::layout)
    }
}

/// The passages of an index: the model that encoded them, and their codes. They are derived from the
/// stored text and can be again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Passages {
    pub embedder: EmbedderRecord,
    /// Segments in `codes/` with a vector a passage, the oldest first.
    pub pooled: Vec<String>,
    /// As many, with a vector a token.
    pub tokens: Vec<String>,
}

impl Passages {
    /// Nothing yet, to be encoded by `embedder`.
    pub fn of(embedder: EmbedderRecord) -> Self {
        Self { embedder, pooled: Vec::new(), tokens: Vec::new() }
    }

    /// The names of all segments.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.pooled.iter().chain(&self.tokens)
    }
}

/// How every page of an index of formats 1 to 4 is laid out: cut into slices, and of each slice
/// `side * side` patches, then `text` vectors of the prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grid {
    pub slices: Slices,
    pub side: u32,
    pub text: u32,
}

impl Grid {
    fn layout(&self) -> PatchLayout {
        PatchLayout::slices(&self.slices, self.side, self.text)
    }
}

/// A setting of searches, and what it was measured to cost on the pages of the index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tuning {
    /// Pages that sketches choose for a comparison of codes; `None` for exact searches.
    pub compared: Option<usize>,
    /// What searches with this setting keep of the exact ranking.
    #[serde(flatten)]
    pub quality: Quality,
    /// The snapshot that was measured.
    pub snapshot: u64,
}

impl Tuning {
    /// Searches that compare the codes of `compared` pages (all when `None`), measured on
    /// `snapshot`.
    pub fn new(compared: Option<usize>, quality: Quality, snapshot: u64) -> Self {
        Self { compared, quality, snapshot }
    }
}

/// What it was measured to cost that vectors are kept in residual codes alone, in 4 bits a number,
/// on the pages of the index while they had full-precision vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Compact {
    /// What rankings by codes keep of those by full-precision vectors.
    #[serde(flatten)]
    pub quality: Quality,
    /// The snapshot that was measured.
    pub snapshot: u64,
}

impl Compact {
    /// The cost that was measured on `snapshot`.
    pub fn new(quality: Quality, snapshot: u64) -> Self {
        Self { quality, snapshot }
    }
}

/// Size and hash of a file that was synced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileMark {
    /// Bytes.
    pub bytes: u64,
    /// BLAKE3, hexadecimal.
    pub blake3: String,
}
