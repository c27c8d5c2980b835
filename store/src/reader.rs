//! One snapshot, for reading: it stays whole whatever a writer does.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::TryStreamExt;
use pagesight_core::seam::DocumentFilter;
use pagesight_core::{DocumentRecord, PageId, PageRecord, PageVectors};
use pagesight_maxsim::Segments;
use rayon::prelude::*;

use crate::StoreError;
use crate::addresses::Addresses;
use crate::codes::{self, Residuals};
use crate::files::check;
use crate::lease::Lease;
use crate::pointer::{HASHED, Snapshot};
use crate::schema::{PLACES, Rows};
use crate::snippet::{Snippet, snippet};
use crate::tables::{LanceTable, any_of, connect, document_filter};
use crate::text::TextReader;

/// How often opening is tried again while a writer is at work in the folder.
const ATTEMPTS: u32 = 5;
const BETWEEN: Duration = Duration::from_millis(20);

/// A snapshot opened for reading, and held: nothing that it needs is removed while it lives.
pub struct Reader {
    folder: PathBuf,
    snapshot: Snapshot,
    documents: LanceTable,
    pages: LanceTable,
    addresses: Addresses,
    /// Of a compact index, once they were asked for.
    residuals: OnceLock<Arc<Residuals>>,
    text: TextReader,
    /// Files that are what was written, by name and hash.
    sound: HashSet<(String, String)>,
    _lease: Lease,
}

impl Reader {
    /// Opens the latest snapshot of the index in `folder`, its files checked: every size, and
    /// the hash of all but the pages' rows, which are checked as they are read.
    ///
    /// # Errors
    /// [`StoreError`] when there is none, it is of a newer format, or a part is damaged or cannot
    /// be read.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_after(folder, HashSet::new()).await
    }

    /// Opens the latest snapshot when it is not the one of this reader; what this one checked is
    /// not checked again.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn newer(&self) -> Result<Option<Self>, StoreError> {
        match Snapshot::read(&self.folder)?.number == self.snapshot.number {
            true => Ok(None),
            false => Self::open_after(&self.folder, self.sound.clone()).await.map(Some),
        }
    }

    async fn open_after(
        folder: &Path,
        sound: HashSet<(String, String)>,
    ) -> Result<Self, StoreError> {
        let mut attempt = 0;
        loop {
            let (snapshot, lease) = Lease::take(folder)?;
            let number = snapshot.number;
            match Self::open_at(folder, snapshot, lease, sound.clone()).await {
                Ok(reader) => return Ok(reader),
                Err(error @ StoreError::DamagedFile { .. }) => return Err(error),
                // Lance looks for its latest version on the way to ours; a writer may remove or
                // replace that one in between.
                Err(error) => {
                    attempt += 1;
                    if Snapshot::read(folder)?.number == number && attempt >= ATTEMPTS {
                        return Err(error);
                    }
                    tokio::time::sleep(BETWEEN).await;
                }
            }
        }
    }

    async fn open_at(
        folder: &Path,
        snapshot: Snapshot,
        lease: Lease,
        mut sound: HashSet<(String, String)>,
    ) -> Result<Self, StoreError> {
        if snapshot.format >= HASHED {
            check(folder, &snapshot, &mut sound)?;
            sound.retain(|(name, _)| snapshot.files.contains_key(name));
        }
        let connection = connect(folder).await?;
        let documents =
            LanceTable::at(&connection, folder, "documents", snapshot.documents_version).await?;
        let pages = LanceTable::at(&connection, folder, "pages", snapshot.pages_version).await?;
        let text = TextReader::open(&folder.join("text"), &snapshot.text_meta)?;
        let (folder, addresses) = (folder.to_path_buf(), Addresses::default());
        Ok(Self {
            folder,
            snapshot,
            documents,
            pages,
            addresses,
            residuals: OnceLock::new(),
            text,
            sound,
            _lease: lease,
        })
    }

    /// The folder of the index.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the pointer says.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The ledger, by path.
    ///
    /// # Errors
    /// [`StoreError`] when the table cannot be read.
    pub async fn documents(&self) -> Result<Vec<DocumentRecord>, StoreError> {
        let mut records = read_ledger(&self.documents).await?;
        records.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(records)
    }

    /// Size and words of `ids`, in their order, without vectors; a page that is not there is
    /// left out.
    ///
    /// # Errors
    /// [`StoreError`] when a page cannot be read or its checksum is wrong.
    pub async fn pages(&self, ids: &[PageId]) -> Result<Vec<PageRecord>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut found: HashMap<PageId, PageRecord> = HashMap::new();
        for batch in self.addresses.rows_of(&self.pages, &TEXT_COLUMNS, ids).await? {
            let pages = Rows { batch: &batch, path: &self.pages.path }.pages()?;
            found.extend(pages.into_iter().map(|page| (page.id, page)));
        }
        Ok(ids.iter().filter_map(|id| found.get(id).cloned()).collect())
    }

    /// The stored multi-vectors, a batch at a time.
    ///
    /// # Errors
    /// [`StoreError`] when a page cannot be read or its checksum is wrong.
    pub async fn vectors(&self, filter: DocumentFilter<'_>) -> Result<VectorStream, StoreError> {
        let Some(residuals) = self.residuals()? else {
            return vectors_of(&self.pages, filter).await;
        };
        let (source, path) = (Source::Codes { residuals, next: 0 }, self.folder.clone());
        Ok(VectorStream { source, path, within: filter.cloned() })
    }

    /// Where a compact index has its vectors; `None` when they are in the pages table.
    fn residuals(&self) -> Result<Option<Arc<Residuals>>, StoreError> {
        if self.snapshot.compact.is_none() {
            return Ok(None);
        }
        if let Some(open) = self.residuals.get() {
            return Ok(Some(Arc::clone(open)));
        }
        let names = self.snapshot.codes.as_deref().unwrap_or_default();
        let open = Arc::new(Residuals::open(&self.folder, names)?);
        Ok(Some(Arc::clone(self.residuals.get_or_init(|| open))))
    }

    /// The multi-vectors of `ids`, in any order; a page that has none is left out.
    ///
    /// # Errors
    /// As [`vectors`](Self::vectors).
    pub async fn vectors_of_pages(
        &self,
        ids: &[PageId],
    ) -> Result<Vec<(PageId, PageVectors)>, StoreError> {
        if let Some(residuals) = self.residuals()? {
            let page = |&id: &PageId| Some((id, residuals.vectors(&self.folder, id)?));
            let pages: Vec<_> = ids.par_iter().filter_map(page).collect();
            return pages.into_iter().map(|(id, vectors)| Ok((id, vectors?))).collect();
        }
        let mut found = Vec::with_capacity(ids.len());
        let columns = self.pages.having(&VECTOR_COLUMNS).await?;
        for batch in self.addresses.rows_of(&self.pages, &columns, ids).await? {
            found.extend(Rows { batch: &batch, path: &self.pages.path }.vectors()?);
        }
        Ok(found)
    }

    /// The codes of this snapshot, mapped; `None` when it has none, or an earlier pagesight's.
    ///
    /// # Errors
    /// [`StoreError::Codes`] when they are damaged.
    pub fn codes(&self) -> Result<Option<Segments>, StoreError> {
        let names = codes::readable(&self.snapshot);
        names.map(|names| codes::open(&self.folder, names)).transpose()
    }

    /// Says that the codes are damaged: the next run derives them again.
    pub fn doubt_codes(&self) {
        codes::doubt(&self.folder);
    }

    /// The `k` best pages for `query` by BM25.
    ///
    /// # Errors
    /// [`StoreError::Text`].
    pub fn search_text(
        &self,
        query: &str,
        k: usize,
        filter: DocumentFilter<'_>,
    ) -> Result<Vec<(PageId, f32)>, StoreError> {
        self.text.search(query, k, filter)
    }

    /// Those of `pages` that have hardly a word.
    ///
    /// # Errors
    /// [`StoreError::Text`].
    pub fn wordless(&self, pages: &[PageId]) -> Result<HashSet<PageId>, StoreError> {
        self.text.wordless(pages)
    }

    pub(crate) fn parts(&self) -> (&LanceTable, &LanceTable, &TextReader) {
        (&self.documents, &self.pages, &self.text)
    }

    /// The part of `text` that answers `query` best, its words marked. Nothing is marked when no
    /// word of the query is in it: then the words channel found the page by its path or title.
    pub fn snippet(&self, query: &str, text: &str) -> Snippet {
        let question = self.text.question(query);
        let telling = snippet(&self.text.telling(&question), text);
        if telling.marks.is_empty() {
            // Found by common words, or by its name alone.
            snippet(&question.words.iter().collect::<Vec<_>>(), text)
        } else {
            telling
        }
    }
}

/// What [`Rows::vectors`] needs.
const VECTOR_COLUMNS: [&str; 5] = ["document", "number", "vectors", "vectors_crc32c", PLACES];

/// The multi-vectors in `table`, a batch at a time.
pub(crate) async fn vectors_of(
    table: &LanceTable,
    filter: DocumentFilter<'_>,
) -> Result<VectorStream, StoreError> {
    // Rows without vectors are read too: that there are none is a part of the checksum.
    let columns = table.having(&VECTOR_COLUMNS).await?;
    let stream = table.read(&columns, document_filter(filter)).await?;
    let (source, path) = (Source::Table(stream), table.path.clone());
    Ok(VectorStream { source, path, within: filter.cloned() })
}

/// What [`Rows::pages`] needs.
pub(crate) const TEXT_COLUMNS: [&str; 7] =
    ["document", "number", "width_pt", "height_pt", "text", "text_source", "page_crc32c"];

pub(crate) async fn read_ledger(table: &LanceTable) -> Result<Vec<DocumentRecord>, StoreError> {
    let mut records = Vec::new();
    for batch in table.read_all(&[], None).await? {
        records.extend(Rows { batch: &batch, path: &table.path }.documents()?);
    }
    Ok(records)
}

/// The pages of `documents`: sizes and words.
pub(crate) async fn read_pages_of(
    table: &LanceTable,
    documents: &HashSet<pagesight_core::DocumentId>,
) -> Result<Vec<PageRecord>, StoreError> {
    let mut pages = Vec::new();
    for filter in any_of("document", documents.iter().map(ToString::to_string)) {
        for batch in table.read_all(&TEXT_COLUMNS, Some(filter)).await? {
            pages.extend(Rows { batch: &batch, path: &table.path }.pages()?);
        }
    }
    Ok(pages)
}

/// Multi-vectors on their way in.
pub struct VectorStream {
    source: Source,
    /// The table, or the index.
    path: PathBuf,
    within: Option<HashSet<pagesight_core::DocumentId>>,
}

enum Source {
    Table(lancedb::arrow::SendableRecordBatchStream),
    /// From this page on.
    Codes {
        residuals: Arc<Residuals>,
        next: usize,
    },
}

/// Pages whose residual codes are read at a time.
const DECODED: usize = 64;

impl VectorStream {
    /// The next batch; `None` at the end.
    ///
    /// # Errors
    /// As [`Reader::vectors`].
    pub async fn next(&mut self) -> Result<Option<Vec<(PageId, PageVectors)>>, StoreError> {
        let within = |id: &PageId| match &self.within {
            Some(within) => within.contains(&id.document),
            None => true,
        };
        match &mut self.source {
            Source::Table(stream) => {
                let next = stream.try_next().await;
                let Some(batch) = next.map_err(StoreError::table("reading", &self.path))? else {
                    return Ok(None);
                };
                let mut pages = Rows { batch: &batch, path: &self.path }.vectors()?;
                pages.retain(|(id, _)| within(id));
                Ok(Some(pages))
            }
            Source::Codes { residuals, next } => {
                let living = &residuals.segments.living()[*next..];
                if living.is_empty() {
                    return Ok(None);
                }
                let some = &living[..living.len().min(DECODED)];
                *next += some.len();
                let some: Vec<PageId> = some.iter().map(|slot| slot.id).filter(within).collect();
                let page = |&id: &PageId| Some((id, residuals.vectors(&self.path, id)?));
                let pages: Vec<_> = some.par_iter().filter_map(page).collect();
                let pages = pages.into_iter().map(|(id, vectors)| Ok((id, vectors?)));
                pages.collect::<Result<_, _>>().map(Some)
            }
        }
    }
}
