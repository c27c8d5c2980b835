//! The public faces of the store, and the seams of core over it: every call waits for async work
//! (see [`runtime`](crate::runtime)).

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;

use futures::FutureExt;
use pagesight_core::seam::{
    Batch, BoxError, DocumentFilter, OutOfReach, PageSink, TextIndex, VectorSource, Visit,
    WordsPart,
};
use pagesight_core::{
    DocumentId, DocumentRecord, EmbedderRecord, EncodedPassages, Found, FoundWords, Frequencies,
    ModelRecord, PageId, PageRecord, PageVectors, WordFacts,
};
use pagesight_maxsim::Segments;
use tokio::runtime::Handle;

use crate::bucket::address::Address;
use crate::bucket::mirror::{LocalCopy, Mirror};
use crate::bucket::objects::Objects;
use crate::bucket::share::Share;
use crate::codes::neutral::LazyNeutral;
use crate::codes::passages::PassageCodes;
use crate::error::StoreError;
use crate::reader::AsyncReader;
use crate::runtime::{runtime, wait};
use crate::snapshot::contents::{Compact, Snapshot, Tuning};
use crate::snapshot::garbage::Collected;
use crate::snapshot::lock::WriterLock;
use crate::text::snippet::Snippet;
use crate::upkeep::repair::{Repaired, repair as repair_async};
use crate::upkeep::transfer::{export as export_async, import as import_async};
use crate::upkeep::verify::{
    Verified, verify as verify_async, verify_bucket as verify_bucket_async,
};
use crate::writer::AsyncWriter;

/// One snapshot of an index, whole, whatever writers do meanwhile. It is held: nothing that it
/// needs is removed while the reader lives.
///
/// Shared by any number of threads. Its vectors and words are read through
/// [`VectorSource`] and [`TextIndex`].
pub struct Reader(AsyncReader);

impl Reader {
    /// Opens the latest snapshot of the index in `folder`. Its files are checked: every size, and
    /// the hash of all but the pages' rows and the codes, which are checked as they are read.
    ///
    /// # Errors
    /// [`StoreError`] when there is none, it is of a newer format, or a part is damaged or cannot
    /// be read.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        in_a_folder(folder)?;
        wait(AsyncReader::open(folder)).map(Self)
    }

    /// Opens the newest snapshot of the index at `address`. Its words and the sketches of its pages are
    /// copied to a folder of their own in that of `local`, where copies of other snapshots are used
    /// again; codes of pages come when they are compared. Vectors and the ledger are read in the bucket.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`StoreError::Bucket`], [`StoreError::NotBuilt`],
    /// [`StoreError::NoRoom`].
    pub fn open_bucket(address: &Address, local: &LocalCopy) -> Result<Self, StoreError> {
        wait(async {
            let objects = Objects::open_for_searches(address).await?;
            let mirror = Mirror::new(local, &objects);
            AsyncReader::open_bucket(objects, mirror).await
        })
        .map(Self)
    }

    #[cfg(test)]
    pub(crate) fn over(reader: AsyncReader) -> Self {
        Self(reader)
    }

    /// Opens the latest snapshot when it is not the one of this reader; files that this one checked
    /// are not checked again.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn newer(&self) -> Result<Option<Self>, StoreError> {
        Ok(wait(self.0.newer())?.map(Self))
    }

    /// The folder of the index, or its address.
    pub fn folder(&self) -> PathBuf {
        self.0.shown()
    }

    /// The snapshot that this reader sees.
    pub fn snapshot(&self) -> &Snapshot {
        &self.0.snapshot
    }

    /// The ledger, by path.
    ///
    /// # Errors
    /// [`StoreError`] when the table cannot be read.
    pub fn documents(&self) -> Result<Vec<DocumentRecord>, StoreError> {
        self.read("documents.lance", self.0.documents())
    }

    /// The records of those of `documents` that are there, by path, without reading the whole ledger.
    ///
    /// # Errors
    /// As [`documents`](Self::documents).
    pub fn documents_of(
        &self,
        documents: &HashSet<DocumentId>,
    ) -> Result<Vec<DocumentRecord>, StoreError> {
        self.read("documents.lance", self.0.documents_of(documents))
    }

    /// The record of the ledger path `path`; `None` when there is none.
    ///
    /// # Errors
    /// As [`documents`](Self::documents).
    pub fn document_at(&self, path: &str) -> Result<Option<DocumentRecord>, StoreError> {
        self.read("documents.lance", self.0.document_at(path))
    }

    /// The records of documents whose ids begin with `digits`, hexadecimal in lower case, by path.
    ///
    /// # Errors
    /// As [`documents`](Self::documents).
    pub fn documents_beginning(&self, digits: &str) -> Result<Vec<DocumentRecord>, StoreError> {
        self.read("documents.lance", self.0.documents_beginning(digits))
    }

    /// Size, words and layout of the pages `ids`, in their order, without vectors; a page that is
    /// not there is left out.
    ///
    /// # Errors
    /// [`StoreError`] when a page cannot be read or its checksum is wrong.
    pub fn pages(&self, ids: &[PageId]) -> Result<Vec<PageRecord>, StoreError> {
        self.read("pages.lance", self.0.pages(ids))
    }

    /// As [`pages`](Self::pages), those that were shown lately or that a copy of an index in a bucket has:
    /// what is left when the bucket is out of reach.
    ///
    /// # Errors
    /// As [`pages`](Self::pages).
    pub fn pages_here(&self, ids: &[PageId]) -> Result<Vec<PageRecord>, StoreError> {
        self.read("pages.lance", self.0.pages_here(ids))
    }

    /// As [`pages`](Self::pages), with the stored vectors of each page: those that its model made,
    /// f16, `[n_vectors, dim]`; of a compact index those that its residual codes stand for. The
    /// layout says where each stands on the page.
    ///
    /// # Errors
    /// As [`pages`](Self::pages).
    pub fn pages_with_vectors(&self, ids: &[PageId]) -> Result<Vec<PageRecord>, StoreError> {
        self.read("pages.lance", self.0.pages_with_vectors(ids))
    }

    /// The codes of the vectors, mapped; `None` when the snapshot has none, or those of an earlier
    /// version, which the next writer replaces.
    ///
    /// # Errors
    /// [`StoreError::Codes`] when they are damaged.
    pub fn codes(&self) -> Result<Option<Segments>, StoreError> {
        self.0.codes()
    }

    /// Whether the index lies in a bucket.
    pub fn is_in_bucket(&self) -> bool {
        self.0.is_in_bucket()
    }

    /// Which part of the codes and words of the index it has.
    pub fn share(&self) -> Share {
        self.0.share()
    }

    /// Reports that a search found the codes damaged: the next run derives them again from the
    /// vectors. Does nothing where the index cannot be written.
    pub fn report_damaged_codes(&self) {
        self.0.report_damaged_codes();
    }

    /// The codes of the passages of the pages' text, mapped; `None` when the index has none.
    ///
    /// # Errors
    /// [`StoreError::Codes`] when they are damaged.
    pub fn passages(&self) -> Result<Option<PassageCodes>, StoreError> {
        self.0.passages()
    }

    /// Reports that a search found the passages damaged: the next run encodes them again from the
    /// stored text. Does nothing where the index cannot be written.
    pub fn report_damaged_passages(&self) {
        self.0.report_damaged_passages();
    }

    /// The part of `text` that answers `query` best, its words marked. Nothing is marked when no
    /// word of the query is in it: then the page was found by its path or title.
    pub fn snippet(&self, query: &str, text: &str) -> Snippet {
        self.0.text.snippet(query, text)
    }
}

impl Reader {
    /// Waits until `reading` of `table` is done. Lance's panics on damaged bytes come as errors (see
    /// [`RowStream`](crate::lance::table::RowStream)); this catches those of decoding what it gave.
    fn read<T: Send>(
        &self,
        table: &str,
        reading: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let reading = AssertUnwindSafe(reading).catch_unwind();
        wait(async { reading.await.unwrap_or_else(|_| Err(self.senseless(table))) })
    }

    fn senseless(&self, table: &str) -> StoreError {
        StoreError::senseless(&self.0.shown().join(table))
    }
}

impl VectorSource for Reader {
    fn scan(&self, filter: DocumentFilter<'_>, visit: Visit<'_>) -> Result<(), BoxError> {
        let mut stream = self.read("pages.lance", self.0.vectors(filter))?;
        // One batch is read and checked while the one before it is visited. The channel is not
        // tokio's, whose blocking calls panic in async code.
        let (send, receive) = sync_channel(1);
        let reading = runtime()?.spawn_blocking(move || {
            let runtime = Handle::current();
            while let Some(batch) = runtime.block_on(stream.next()).transpose() {
                let last = batch.is_err();
                if send.send(batch).is_err() || last {
                    break;
                }
            }
        });
        for batch in receive {
            visit(&batch?);
        }
        // A reader that panicked has not read to the end: damaged bytes can do that.
        if !wait(async { Ok(reading.await.is_ok()) })? {
            return Err(self.senseless("pages.lance").into());
        }
        Ok(())
    }

    fn vectors_of(&self, pages: &[PageId]) -> Result<Vec<(PageId, PageVectors)>, BoxError> {
        match self.read("pages.lance", self.0.vectors_of_pages(pages)) {
            Err(error @ StoreError::OutOfReach { .. }) => Err(OutOfReach(error.into()).into()),
            read => Ok(read?),
        }
    }
}

impl TextIndex for Reader {
    fn search_text(
        &self,
        query: &str,
        k: usize,
        filter: DocumentFilter<'_>,
    ) -> Result<Found, BoxError> {
        Ok(self.0.text.search(query, k, filter)?)
    }

    fn wordless(&self, pages: &[PageId]) -> Result<HashSet<PageId>, BoxError> {
        Ok(self.0.text.wordless(pages)?)
    }
}

impl WordsPart for Reader {
    fn facts(&self) -> WordFacts {
        self.0.text.facts().clone()
    }

    fn frequencies(&self, query: &str, all: &WordFacts) -> Result<Frequencies, BoxError> {
        Ok(self.0.text.frequencies(query, all)?)
    }

    fn search_words(
        &self,
        query: &str,
        k: usize,
        filter: DocumentFilter<'_>,
        all: (&WordFacts, &Frequencies),
    ) -> Result<FoundWords, BoxError> {
        Ok(self.0.text.search_part(query, k, filter, all)?)
    }
}

/// The one writer of an index: batches in ([`PageSink`]), snapshots out. Any number of readers may
/// search meanwhile, in this process and in others.
pub struct Writer(AsyncWriter);

impl Writer {
    /// Makes an empty index in `folder`, which is made too.
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::Locked`], or what the disk says.
    pub fn create(folder: &Path) -> Result<Self, StoreError> {
        in_a_folder(folder)?;
        wait(AsyncWriter::create(folder)).map(Self)
    }

    /// Opens the index in `folder` for writing. An index of an earlier format is carried on in
    /// today's, as a new snapshot.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Locked`], [`StoreError::NewerFormat`], or what
    /// cannot be read.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        in_a_folder(folder)?;
        wait(AsyncWriter::open(folder)).map(Self)
    }

    /// The last published snapshot.
    pub fn snapshot(&self) -> &Snapshot {
        &self.0.snapshot
    }

    /// Says which model the vectors to come are from. An index that has vectors keeps its model;
    /// what else the record says (source, recipe, fusion) may change.
    ///
    /// # Errors
    /// [`StoreError::OtherModel`], [`StoreError::OtherDim`], or what cannot be written.
    pub fn set_model(&mut self, model: ModelRecord) -> Result<(), StoreError> {
        wait(self.0.set_model(model))
    }

    /// Gives the neutral questions that pages are measured with when their codes are written; the
    /// next [`maintain`](Self::maintain) measures those that were not. Without, none is measured.
    pub fn set_neutral(&mut self, neutral: Option<LazyNeutral>) {
        self.0.neutral = neutral;
    }

    /// Says how searches are shortened; `None` leaves it to them.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn set_tuning(&mut self, tuning: Option<Tuning>) -> Result<(), StoreError> {
        wait(self.0.set_tuning(tuning))
    }

    /// Puts residual codes in the place of all full-precision vectors, from now on for pages that
    /// are added too: a quarter of the bytes. `cost` is what that was measured to lose.
    /// Full-precision vectors do not come back unless the pages are encoded again. Returns false,
    /// and changes nothing, when the index is compact already or has no vectors.
    ///
    /// # Errors
    /// What cannot be read or written; the index is as it was.
    pub fn compact(&mut self, cost: Compact) -> Result<bool, StoreError> {
        wait(self.0.compact(cost))
    }

    /// Says which model encodes the passages of the pages' text; `None` for an index without
    /// passages, which stays so until another call. Passages of another model go, and so do those
    /// that a search found damaged: they are derived from the stored text.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn set_embedder(&mut self, model: Option<EmbedderRecord>) -> Result<(), StoreError> {
        wait(self.0.set_embedder(model))
    }

    /// The pages that have words and no passages, in order; none when the index has no embedder.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn pages_to_embed(&mut self) -> Result<Vec<PageId>, StoreError> {
        wait(self.0.pages_to_embed())
    }

    /// The stored texts of `pages`, in any order; those of pages that are gone are left out.
    ///
    /// # Errors
    /// What cannot be read, and [`StoreError::DamagedPage`].
    pub fn texts(&mut self, pages: &[PageId]) -> Result<Vec<(PageId, String)>, StoreError> {
        wait(self.0.texts(pages))
    }

    /// Adds passages of pages that have none: durable and visible as a whole when this returns.
    ///
    /// # Errors
    /// [`StoreError::OtherDim`] when they are not of the index's embedder; [`StoreError::DiskFull`]
    /// and what else cannot be written. The index is as it was then.
    pub fn add_passages(&mut self, pages: &[(PageId, EncodedPassages)]) -> Result<(), StoreError> {
        wait(self.0.add_passages(pages))
    }

    /// Joins small files and drops rows and words of pages that are gone, where there is enough of
    /// either; derives codes again that are damaged; removes files that no snapshot in use names.
    /// Ends early when `stop` is set.
    ///
    /// # Errors
    /// [`StoreError::Interrupted`], and whatever cannot be written; the index is as it was.
    pub fn maintain(&mut self, stop: &AtomicBool) -> Result<Collected, StoreError> {
        wait(self.0.maintain(stop))
    }

    /// Removes files that no snapshot in use names. Returns what was removed since the writer was
    /// opened.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn collect_garbage(&mut self) -> Result<Collected, StoreError> {
        self.0.collect_garbage()
    }
}

impl PageSink for Writer {
    fn documents(&mut self) -> Result<Vec<DocumentRecord>, BoxError> {
        Ok(self.0.ledger.records().cloned().collect())
    }

    /// # Errors
    /// Besides [`StoreError::DiskFull`] and what cannot be written: [`StoreError::OtherDim`],
    /// [`StoreError::OtherModel`] and [`StoreError::Vectors`] for a batch that does not fit the
    /// index.
    fn commit(&mut self, batch: Batch) -> Result<(), BoxError> {
        Ok(wait(self.0.commit(batch))?)
    }
}

/// Compares every file of the current snapshot with its BLAKE3 hash, every page with its CRC32C,
/// and the ledger, the pages, their codes and the text index with each other. Writers may go on
/// meanwhile.
///
/// # Errors
/// When there is no index, it is of a newer format, or a file cannot be read at all. Damage is no
/// error: it is in the result.
pub fn verify(folder: &Path) -> Result<Verified, StoreError> {
    in_a_folder(folder)?;
    wait(verify_async(folder))
}

/// Mends the index in `folder` and publishes the result as a new snapshot. Readers go on. Needs a
/// build that unwinds: with `panic = "abort"`, a panic of Lance on damaged bytes ends the program.
///
/// # Errors
/// [`StoreError::Locked`]; [`StoreError::Pointer`] and [`StoreError::Torn`] when something is
/// damaged together with its copy; what cannot be written.
pub fn repair(folder: &Path) -> Result<Repaired, StoreError> {
    in_a_folder(folder)?;
    wait(repair_async(folder))
}

/// Writes the latest snapshot of the index in `folder` into the new folder `to`, every page
/// checked on the way. Returns the snapshot that it wrote.
///
/// # Errors
/// [`StoreError::Exists`] when there is something at `to`; [`StoreError::Compact`] when there are
/// no full-precision vectors; [`StoreError::DamagedPage`] and what else cannot be read or written.
pub fn export(folder: &Path, to: &Path) -> Result<Snapshot, StoreError> {
    in_a_folder(folder)?;
    wait(async { export_async(&AsyncReader::open(folder).await?, to).await })
}

/// As [`verify`], of the index at `address`: every object that its newest snapshot needs is read.
/// Its words and codes are copied to a folder in `local`, whole.
///
/// # Errors
/// As [`verify`], and [`StoreError::Bucket`].
pub fn verify_bucket(address: &Address, local: &Path) -> Result<Verified, StoreError> {
    wait(async {
        let objects = Objects::open(address).await?;
        let mirror = Mirror::new(&LocalCopy::in_folder(local), &objects);
        verify_bucket_async(objects, mirror).await
    })
}

/// As [`export`], of the index at `address`. Copies lie in `local` meanwhile.
///
/// # Errors
/// As [`export`], and [`StoreError::Bucket`].
pub fn export_bucket(address: &Address, local: &Path, to: &Path) -> Result<Snapshot, StoreError> {
    let reader = Reader::open_bucket(address, &LocalCopy::in_folder(local))?;
    wait(export_async(&reader.0, to))
}

/// Refuses an address where a folder is meant: what is asked for is done to folders alone, and an
/// address that is taken for one would make a folder of that name.
fn in_a_folder(folder: &Path) -> Result<(), StoreError> {
    match Address::of(folder)? {
        None => Ok(()),
        Some(address) => {
            address.check_built()?;
            let what = "this cannot be done: a folder can, and `export` and `import` move an index";
            Err(StoreError::NotInBucket { place: address.to_string(), what })
        }
    }
}

/// Makes a new index in `folder` from an export. It appears whole or not at all. Returns its
/// snapshot.
///
/// # Errors
/// [`StoreError::Exists`] when `folder` has an index; [`StoreError::Export`] and
/// [`StoreError::DamagedPage`] when the export is not as it was written.
pub fn import(folder: &Path, from: &Path) -> Result<Snapshot, StoreError> {
    in_a_folder(folder)?;
    wait(import_async(folder, from))
}

/// Says at once whether another process, or another writer of this one, writes to the index in
/// `folder`.
///
/// # Errors
/// [`StoreError::Locked`] with that process.
pub fn check_lock(folder: &Path) -> Result<(), StoreError> {
    in_a_folder(folder)?;
    WriterLock::take(folder).map(drop)
}

/// Readers are shared between threads, writers move between them.
const _: () = {
    const fn shared<T: Send + Sync + 'static>() {}
    const fn moved<T: Send + 'static>() {}
    shared::<Reader>();
    moved::<Writer>();
};
