//! One snapshot, for reading: it stays whole whatever a writer does.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pagesight_core::seam::DocumentFilter;
use pagesight_core::{DocumentId, DocumentRecord, PageId, PageRecord, PageVectors, PatchLayout};
use pagesight_maxsim::Segments;
use rayon::prelude::*;

use crate::bucket::distant::Distant;
use crate::bucket::lease::BucketLease;
use crate::bucket::log;
use crate::bucket::mirror::Mirror;
use crate::bucket::objects::Objects;
use crate::bucket::share::Share;
use crate::bucket::words;
use crate::codes::passages::PassageCodes;
use crate::codes::residual::{Residuals, only_copy};
use crate::codes::{damage, segments};
use crate::error::StoreError;
use crate::lance::addresses::Addresses;
use crate::lance::schema::{Rows, TEXT_COLUMNS, VECTOR_COLUMNS, read_ledger, read_records};
use crate::lance::table::{LanceTable, any_of, connect};
use crate::lately::Lately;
use crate::snapshot::contents::Snapshot;
use crate::snapshot::files::check;
use crate::snapshot::lease::Lease;
use crate::snapshot::names::{ROWS, TEXT};
use crate::snapshot::pointer::HASHED;
use crate::snapshot::publish;
use crate::snapshot::sums::{self, has_sums, sums_name};
use crate::text::pinned::TextSums;
use crate::text::reader::TextReader;
use crate::vectors::VectorStream;

/// Texts of so many bytes are kept of the pages that were shown lately: some thousand pages.
const SHOWN_BYTES: usize = 16 << 20;

/// And vectors of so many, of those that were ranked by them: some hundred pages.
const RANKED_BYTES: usize = 64 << 20;

/// How often opening is tried again while a writer is at work in the folder.
const ATTEMPTS: u32 = 5;
const BETWEEN: Duration = Duration::from_millis(20);

/// The checksums of the large files of words, where the snapshot has them.
fn sums_of_text(folder: &Path, snapshot: &Snapshot) -> Result<TextSums, StoreError> {
    let large = snapshot.files.iter().filter(|(name, mark)| has_sums(name, mark));
    let kept = large.filter(|(_, mark)| snapshot.files.contains_key(&sums_name(mark)));
    kept.map(|(name, mark)| {
        let below_text = Path::new(name).strip_prefix(TEXT).expect("a file of words");
        Ok((below_text.to_path_buf(), sums::read(folder, mark)?))
    })
    .collect()
}

/// A snapshot opened for reading, and held: nothing that it needs is removed while it lives.
pub(crate) struct AsyncReader {
    /// Where words and codes lie as files: the index, or the copy of one in a bucket.
    pub folder: PathBuf,
    pub snapshot: Snapshot,
    pub documents: LanceTable,
    pub pages: LanceTable,
    pub text: TextReader,
    addresses: Addresses,
    /// What searches showed lately, without vectors.
    shown: Lately<PageRecord>,
    /// The vectors of pages that were ranked by them lately; a compact index has its own in codes.
    ranked: Lately<PageVectors>,
    /// Of a compact index, once they were asked for.
    residuals: OnceLock<Arc<Residuals>>,
    /// Files that were compared with what was written, by name and hash.
    sound: HashSet<(String, String)>,
    home: Home,
}

/// Where an index is, and how its snapshot is held.
enum Home {
    Folder { _lease: Lease },
    Bucket(Box<InBucket>),
}

/// What reads an index in a bucket.
struct InBucket {
    objects: Objects,
    mirror: Mirror,
    /// A search found the copies of the codes damaged.
    doubted: AtomicBool,
    /// Tells what is fetched in the background that nobody needs it any more.
    over: Arc<AtomicBool>,
    _lease: BucketLease,
}

impl Drop for InBucket {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

impl AsyncReader {
    /// Opens the latest snapshot of the index in `folder`, its files checked: every size, and
    /// the hash of all but the pages' rows, which are checked as they are read.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_after(folder, HashSet::new()).await
    }

    /// Opens the latest snapshot when it is not the one of this reader, were it that of an index
    /// which was made anew since; files that this one
    /// checked are not checked again.
    pub async fn newer(&self) -> Result<Option<Self>, StoreError> {
        if let Home::Bucket(home) = &self.home {
            let InBucket { objects, mirror, doubted, .. } = &**home;
            let newer = log::newest_from(objects, self.snapshot.number + 1).await?;
            // Damaged copies are fetched again and mapped anew, those that made room are mapped anew.
            let is_as_it_was =
                || !doubted.load(Ordering::Relaxed) && !mirror.has_made_room(&self.snapshot.files);
            if newer.is_none() && is_as_it_was() {
                return Ok(None);
            }
            return Self::open_bucket(objects.clone(), mirror.clone()).await.map(Some);
        }
        let latest = publish::read(&self.folder)?;
        // The time too: an index that was made anew in this folder counts from the start.
        if latest.number == self.snapshot.number && latest.created_s == self.snapshot.created_s {
            return Ok(None);
        }
        Self::open_after(&self.folder, self.sound.clone()).await.map(Some)
    }

    /// Opens the newest snapshot of the index in the bucket of `objects`: its words and what searches
    /// scan of its codes are brought to `mirror`; its tables are read where they are.
    pub async fn open_bucket(objects: Objects, mirror: Mirror) -> Result<Self, StoreError> {
        let (entry, lease) = BucketLease::take(&objects).await?;
        let mut snapshot = entry.snapshot.clone();
        if snapshot.compact.is_some() && mirror.share() != Share::Whole {
            let place = objects.address.to_string();
            let what = "a compact index is not shared out over several machines: its codes are all that \
                        there is of its vectors, so each replica has all of them";
            return Err(StoreError::NotInBucket { place, what });
        }
        snapshot.files = entry.files(&objects).await?;
        mirror.bring(&snapshot.files).await?;
        let places = objects.tables();
        let documents = places.open("documents", Some(snapshot.documents_version)).await?;
        let pages = places.open("pages", Some(snapshot.pages_version)).await?;
        let folder = mirror.folder().to_path_buf();
        let share = mirror.share();
        let text_meta = words::of_share(&objects.shown(), &snapshot.text_meta, share)?;
        let text = TextReader::open(&folder.join(TEXT), &text_meta)?;
        mirror.tidy(&snapshot.files);
        let over = Arc::new(AtomicBool::new(false));
        let names = segments::readable(&snapshot).unwrap_or_default().to_vec();
        mirror.fill(pages.clone(), names, Arc::clone(&over));
        let lists = snapshot.files.keys().filter(|name| name.starts_with(ROWS));
        let addresses = Addresses::listed(lists.map(|name| folder.join(name)).collect());
        Ok(Self {
            folder,
            snapshot,
            documents,
            pages,
            text,
            addresses,
            shown: Lately::new(SHOWN_BYTES),
            ranked: Lately::new(RANKED_BYTES),
            residuals: OnceLock::new(),
            sound: HashSet::new(),
            home: Home::Bucket(Box::new(InBucket {
                objects,
                mirror,
                doubted: AtomicBool::new(false),
                over,
                _lease: lease,
            })),
        })
    }

    /// The index, as a person names it.
    pub fn shown(&self) -> PathBuf {
        match &self.home {
            Home::Folder { .. } => self.folder.clone(),
            Home::Bucket(home) => home.objects.shown(),
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
                    if publish::read(folder)?.number == number && attempt >= ATTEMPTS {
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
        let sums = sums_of_text(folder, &snapshot)?;
        let text = TextReader::checked(&folder.join(TEXT), &snapshot.text_meta, sums)?;
        let addresses = Addresses::open(folder, &snapshot);
        Ok(Self {
            folder: folder.to_path_buf(),
            snapshot,
            documents,
            pages,
            text,
            addresses,
            shown: Lately::new(SHOWN_BYTES),
            ranked: Lately::new(RANKED_BYTES),
            residuals: OnceLock::new(),
            sound,
            home: Home::Folder { _lease: lease },
        })
    }

    /// The ledger, by path.
    pub async fn documents(&self) -> Result<Vec<DocumentRecord>, StoreError> {
        let mut records = read_ledger(&self.documents).await?;
        records.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(records)
    }

    /// The records of those of `documents` that are there, by path.
    pub async fn documents_of(
        &self,
        documents: &HashSet<DocumentId>,
    ) -> Result<Vec<DocumentRecord>, StoreError> {
        let mut records = Vec::new();
        for filter in any_of("document", documents.iter().map(ToString::to_string)) {
            records.extend(read_records(&self.documents, Some(filter)).await?);
        }
        records.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(records)
    }

    /// The record of `path`; `None` when the ledger has none.
    pub async fn document_at(&self, path: &str) -> Result<Option<DocumentRecord>, StoreError> {
        let filter = any_of("path", [path]).pop();
        Ok(read_records(&self.documents, filter).await?.pop())
    }

    /// The records of documents whose ids begin with `digits`, hexadecimal in lower case.
    pub async fn documents_beginning(
        &self,
        digits: &str,
    ) -> Result<Vec<DocumentRecord>, StoreError> {
        // `g` comes after every digit.
        let filter = format!("document >= '{digits}' AND document < '{digits}g'");
        let mut records = read_records(&self.documents, Some(filter)).await?;
        records.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(records)
    }

    /// Size, words and layout of `ids`, in their order, without vectors; a page that is not there
    /// is left out.
    pub async fn pages(&self, ids: &[PageId]) -> Result<Vec<PageRecord>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let old_layout = self.snapshot.old_layout();
        let mut found = self.at_hand(ids).await?;
        let unknown: Vec<PageId> =
            ids.iter().copied().filter(|id| !found.contains_key(id)).collect();
        let read = self.addresses.rows_of(&self.pages, &TEXT_COLUMNS, &unknown);
        for batch in self.reached(unknown.is_empty(), read).await? {
            let rows = Rows { batch: &batch, path: &self.pages.path };
            let mut pages = rows.pages()?;
            if let Some(layout) = &old_layout {
                self.add_old_layout(layout, &mut pages, &rows.with_vectors()?);
            }
            for page in pages {
                self.shown.keep(page.id, page.clone(), size_of::<PageRecord>() + page.text.len());
                found.insert(page.id, page);
            }
        }
        Ok(ids.iter().filter_map(|id| found.get(id).cloned()).collect())
    }

    /// As [`pages`](Self::pages), those that are on this machine alone.
    pub async fn pages_here(&self, ids: &[PageId]) -> Result<Vec<PageRecord>, StoreError> {
        let found = self.at_hand(ids).await?;
        Ok(ids.iter().filter_map(|id| found.get(id).cloned()).collect())
    }

    /// Those of `ids` that were shown lately, or whose texts a copy of an index in a bucket has.
    async fn at_hand(&self, ids: &[PageId]) -> Result<HashMap<PageId, PageRecord>, StoreError> {
        let known = ids.iter().filter_map(|&id| Some((id, self.shown.get(id)?)));
        let mut found: HashMap<PageId, PageRecord> = known.collect();
        if let Home::Bucket(home) = &self.home {
            let unknown: Vec<PageId> =
                ids.iter().copied().filter(|id| !found.contains_key(id)).collect();
            let rows = self.addresses.known(&self.pages, &unknown).await.unwrap_or_default();
            for page in home.mirror.texts().pages(&self.pages, &rows).await? {
                self.shown.keep(page.id, page.clone(), size_of::<PageRecord>() + page.text.len());
                found.insert(page.id, page);
            }
        }
        Ok(found)
    }

    /// What `reading` of a table gives. In a bucket that is out of reach nobody waits for it, unless it is
    /// `nothing` that is read.
    async fn reached<T: Default>(
        &self,
        nothing: bool,
        reading: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if nothing {
            return Ok(T::default());
        }
        let Home::Bucket(home) = &self.home else { return reading.await };
        let (objects, place) = (&home.objects, home.objects.address.to_string());
        if objects.is_silent() {
            return Err(StoreError::OutOfReach { place, source: None });
        }
        match reading.await {
            Err(error) if objects.ask_whether_silent().await => {
                Err(StoreError::OutOfReach { place, source: Some(error.into()) })
            }
            read => read,
        }
    }

    /// Gives `layout` to those `pages` that have vectors, in the table or in codes, and no layout.
    fn add_old_layout(
        &self,
        layout: &PatchLayout,
        pages: &mut [PageRecord],
        in_table: &HashSet<PageId>,
    ) {
        for page in pages.iter_mut().filter(|page| page.layout.is_none()) {
            // Words are readable with damaged codes; then nothing says what vectors there are.
            let coded = || self.residuals().is_ok_and(|r| r.is_some_and(|r| r.has(page.id)));
            if in_table.contains(&page.id) || coded() {
                page.layout = Some(layout.clone());
            }
        }
    }

    /// As [`pages`](Self::pages), with their vectors.
    pub async fn pages_with_vectors(&self, ids: &[PageId]) -> Result<Vec<PageRecord>, StoreError> {
        let mut pages = self.pages(ids).await?;
        let mut vectors: HashMap<PageId, PageVectors> =
            self.vectors_of_pages(ids).await?.into_iter().collect();
        for page in &mut pages {
            page.vectors = vectors.remove(&page.id);
        }
        Ok(pages)
    }

    /// The stored multi-vectors, a batch at a time.
    pub async fn vectors(&self, filter: DocumentFilter<'_>) -> Result<VectorStream, StoreError> {
        match self.residuals()? {
            Some(residuals) => Ok(VectorStream::of_codes(residuals, &self.folder, filter)),
            None => VectorStream::of_table(&self.pages, filter).await,
        }
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
        let codes = segments::open(&self.folder, names).map_err(only_copy)?;
        let open = Arc::new(Residuals::over(self.reachable(codes)));
        Ok(Some(Arc::clone(self.residuals.get_or_init(|| open))))
    }

    /// The multi-vectors of `ids`, in any order; a page that has none is left out.
    pub async fn vectors_of_pages(
        &self,
        ids: &[PageId],
    ) -> Result<Vec<(PageId, PageVectors)>, StoreError> {
        if let Some(residuals) = self.residuals()? {
            let page = |&id: &PageId| Some((id, residuals.vectors(&self.folder, id)?));
            let pages: Vec<_> = ids.par_iter().filter_map(page).collect();
            return pages.into_iter().map(|(id, vectors)| Ok((id, vectors?))).collect();
        }
        let (mut found, mut unknown) = (Vec::with_capacity(ids.len()), Vec::new());
        for &id in ids {
            match self.ranked.get(id) {
                Some(vectors) => found.push((id, vectors)),
                None => unknown.push(id),
            }
        }
        let read = self.addresses.rows_of(&self.pages, &VECTOR_COLUMNS, &unknown);
        for batch in self.reached(unknown.is_empty(), read).await? {
            for (id, vectors) in (Rows { batch: &batch, path: &self.pages.path }).vectors()? {
                let places = vectors.places().map_or(0, size_of_val);
                let bytes = size_of_val(vectors.values()) + places;
                self.ranked.keep(id, vectors.clone(), bytes);
                found.push((id, vectors));
            }
        }
        Ok(found)
    }

    /// Whether the index lies in a bucket.
    pub fn is_in_bucket(&self) -> bool {
        matches!(self.home, Home::Bucket(_))
    }

    /// Which part of the codes and words of the index it has.
    pub fn share(&self) -> Share {
        match &self.home {
            Home::Folder { .. } => Share::Whole,
            Home::Bucket(home) => home.mirror.share(),
        }
    }

    /// The codes of this snapshot, mapped; `None` when it has none, or those of an earlier version.
    pub fn codes(&self) -> Result<Option<Segments>, StoreError> {
        let share = self.share();
        let names = segments::readable(&self.snapshot).filter(|_| share != Share::Nothing);
        let Some(names) = names else { return Ok(None) };
        let codes = segments::open(&self.folder, names)?;
        let codes = match share {
            Share::Whole => codes,
            share => codes.part(|at| share.has(&names[at])),
        };
        Ok(Some(self.reachable(codes)))
    }

    /// Lets `codes` of an index in a bucket fetch what the files here lack.
    fn reachable(&self, codes: Segments) -> Segments {
        match &self.home {
            Home::Folder { .. } => codes,
            Home::Bucket(home) => {
                let names = self.snapshot.codes.clone().unwrap_or_default();
                codes.with_elsewhere(Arc::new(Distant::new(home.mirror.clone(), names)))
            }
        }
    }

    /// The codes of the passages, mapped; `None` when the index has none.
    pub fn passages(&self) -> Result<Option<PassageCodes>, StoreError> {
        let passages = self.snapshot.passages.as_ref();
        passages.map(|passages| PassageCodes::open(&self.folder, passages)).transpose()
    }

    /// Asks the next run to encode all passages again.
    pub fn report_damaged_passages(&self) {
        damage::mark_passages(&self.folder);
    }

    /// Asks the next writer to derive all codes again.
    pub fn report_damaged_codes(&self) {
        match &self.home {
            Home::Folder { .. } => damage::mark(&self.folder),
            // They are sound in the bucket, as far as anybody knows: here they are fetched again.
            Home::Bucket(home) => {
                let InBucket { mirror, doubted, .. } = &**home;
                mirror.doubt();
                doubted.store(true, Ordering::Relaxed);
            }
        }
    }
}
