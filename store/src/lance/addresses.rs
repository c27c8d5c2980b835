//! Where the rows of pages lie in their table.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use pagesight_core::{DocumentId, PageId};
use tokio::sync::OnceCell;

use super::address_file::{AddressFile, Damaged, Place, write};
use crate::error::StoreError;
use crate::lance::row_list;
use crate::lance::schema::Rows;
use crate::lance::table::{LanceTable, any_of};
use crate::snapshot::contents::Snapshot;
use crate::snapshot::names::ADDRESSES;

/// Pages asked for at a time.
const MAX_PAGES: usize = 256;

/// Rows that are in no file of addresses cost a few milliseconds the first time that a process asks. The
/// tests of this crate make files of few.
const MANY_ROWS: usize = if cfg!(test) { 32 } else { 1 << 14 };

/// A file of addresses is made anew when more than so many of all rows are not in it, so that each row
/// is written a logarithmic number of times while an index grows.
const UNLISTED: usize = 8;

const ID_COLUMNS: [&str; 2] = ["document", "number"];

/// Finds rows of one version of a table by page.
///
/// A large index has a file of them. Of the rows that are not in it, a filter compares the pages each
/// time, in columns that are short. A process that asks twice will ask more often: the second time, the
/// pages of these rows are read once; where lists of them lie beside the table, the first time. Rows are
/// taken by their ids.
#[derive(Default)]
pub(crate) struct Addresses {
    file: Option<AddressFile>,
    asked: AtomicBool,
    /// Files that say which pages the rows are.
    lists: Vec<PathBuf>,
    /// The rows that are not in the file.
    unlisted: OnceCell<HashMap<PageId, u64>>,
    /// All rows, where the file was found damaged: then it is done without.
    all: OnceCell<HashMap<PageId, u64>>,
    fragments: OnceCell<Fragments>,
}

/// The fragments of a version of a table.
struct Fragments {
    /// Whose rows the file has.
    listed: BTreeSet<u32>,
    others: BTreeSet<u32>,
}

impl Addresses {
    /// Those of the index at `index`, with the file that `snapshot` has of them.
    pub fn open(index: &Path, snapshot: &Snapshot) -> Self {
        let file = snapshot.addresses.as_ref();
        let file = file.and_then(|name| AddressFile::open(&index.join(ADDRESSES).join(name)));
        Self { file, ..Self::default() }
    }

    /// Of a table of which the files `lists` say which pages its rows are.
    pub fn listed(lists: Vec<PathBuf>) -> Self {
        Self { lists, ..Self::default() }
    }

    /// `columns` of the rows of those of `ids` that are there, in any order.
    pub async fn rows_of(
        &self,
        table: &LanceTable,
        columns: &[&str],
        ids: &[PageId],
    ) -> Result<Vec<RecordBatch>, StoreError> {
        let mut batches = Vec::new();
        let again = self.asked.swap(true, Ordering::Relaxed) || !self.lists.is_empty();
        for ids in ids.chunks(MAX_PAGES) {
            let rows = match self.by_file(table, ids, again).await? {
                Some(rows) => rows,
                None => {
                    let all = self.all.get_or_try_init(|| read_row_ids(table, None, None)).await?;
                    ids.iter().filter_map(|id| all.get(id).copied()).collect()
                }
            };
            batches.extend(table.take(columns, rows).await?);
        }
        Ok(batches)
    }

    /// The row ids of `ids` by the file and, as far as it has not all rows, by the table; `None` when the
    /// file is damaged.
    async fn by_file(
        &self,
        table: &LanceTable,
        ids: &[PageId],
        again: bool,
    ) -> Result<Option<Vec<u64>>, StoreError> {
        if self.all.initialized() {
            return Ok(None);
        }
        let fragments = self.fragments.get_or_try_init(|| self.fragments_of(table)).await?;
        let listed = |row_id: &u64| fragments.listed.contains(&fragment_of(*row_id));
        let mut rows = Vec::with_capacity(ids.len());
        for &id in ids {
            match self.file.as_ref().map_or(Ok(Vec::new()), |file| file.row_ids(id)) {
                Ok(row_ids) => rows.extend(row_ids.into_iter().filter(listed)),
                Err(Damaged) => return Ok(None),
            }
        }
        let others = (!fragments.listed.is_empty()).then_some(&fragments.others);
        if others.is_some_and(BTreeSet::is_empty) {
            return Ok(Some(rows));
        }
        if again {
            let unlisted =
                self.unlisted.get_or_try_init(|| self.read_unlisted(table, others)).await?;
            rows.extend(ids.iter().filter_map(|id| unlisted.get(id)));
        } else {
            // A set of documents is compared with in one step; their pages are told apart here.
            let documents: BTreeSet<DocumentId> = ids.iter().map(|id| id.document).collect();
            let filter = any_of("document", documents.iter().map(ToString::to_string)).pop();
            let found = read_row_ids(table, filter, others).await?;
            rows.extend(ids.iter().filter_map(|id| found.get(id)));
        }
        Ok(Some(rows))
    }

    /// The row ids of those of `ids` that are there, where it is known by now where all pages lie, or is
    /// written down beside the table; `None` where the table would have to be read for it.
    pub async fn known(&self, table: &LanceTable, ids: &[PageId]) -> Option<Vec<(PageId, u64)>> {
        let is_known = !self.lists.is_empty() || self.unlisted.initialized();
        if self.file.is_some() || !is_known {
            return None;
        }
        let all = self.unlisted.get_or_try_init(|| self.read_unlisted(table, None)).await.ok()?;
        Some(ids.iter().filter_map(|id| Some((*id, *all.get(id)?))).collect())
    }

    /// The rows of `fragments`, of all where none are named.
    async fn read_unlisted(
        &self,
        table: &LanceTable,
        fragments: Option<&BTreeSet<u32>>,
    ) -> Result<HashMap<PageId, u64>, StoreError> {
        match &*self.lists {
            [] => read_row_ids(table, None, fragments).await,
            lists => row_list::row_ids(table, lists).await,
        }
    }

    async fn fragments_of(&self, table: &LanceTable) -> Result<Fragments, StoreError> {
        let there = table.fragments().await?.into_keys();
        let in_file =
            |number: &u32| self.file.as_ref().is_some_and(|file| file.fragments().contains(number));
        let (listed, others) = there.partition(in_file);
        Ok(Fragments { listed, others })
    }
}

/// The fragment that a row lies in, where row ids are the addresses of rows.
fn fragment_of(row_id: u64) -> u32 {
    (row_id >> 32) as u32
}

/// Makes the file of addresses of the index at `index` anew, as `name`, when many rows of `table` are not
/// in the one that `snapshot` has; whether it was made.
///
/// # Errors
/// When the table cannot be read or the file not be written.
pub(crate) async fn renew(
    index: &Path,
    snapshot: &Snapshot,
    table: &LanceTable,
    name: &str,
) -> Result<bool, StoreError> {
    let known = Addresses::open(index, snapshot).file;
    let fragments = table.fragments().await?;
    let listed =
        |number: &u32| known.as_ref().is_some_and(|file| file.fragments().contains(number));
    let count = |rows: &[usize]| rows.iter().sum::<usize>();
    let all = count(&fragments.values().copied().collect::<Vec<_>>());
    let unlisted = fragments.iter().filter(|(number, _)| !listed(number)).map(|(_, rows)| *rows);
    let unlisted = count(&unlisted.collect::<Vec<_>>());
    if unlisted < MANY_ROWS
        || unlisted * UNLISTED < all
        || !table.has_addresses_as_row_ids().await?
    {
        return Ok(false);
    }
    let mut places = Vec::with_capacity(all);
    let mut rows = table.stream_row_ids(&ID_COLUMNS, None, None).await?;
    while let Some(batch) = rows.try_next().await? {
        let rows = Rows { batch: &batch, path: &table.path }.row_ids()?;
        places.extend(rows.into_iter().map(|(page, row_id)| Place::new(page, row_id)));
    }
    let folder = index.join(ADDRESSES);
    std::fs::create_dir_all(&folder).map_err(StoreError::io("making", &folder))?;
    write(&folder.join(name), places, &fragments.into_keys().collect())?;
    Ok(true)
}

async fn read_row_ids(
    table: &LanceTable,
    filter: Option<String>,
    fragments: Option<&BTreeSet<u32>>,
) -> Result<HashMap<PageId, u64>, StoreError> {
    let mut row_ids = HashMap::new();
    let mut rows = table.stream_row_ids(&ID_COLUMNS, filter, fragments).await?;
    while let Some(batch) = rows.try_next().await? {
        row_ids.extend(Rows { batch: &batch, path: &table.path }.row_ids()?);
    }
    Ok(row_ids)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::sync::atomic::AtomicBool;

    use pagesight_core::PageRecord;
    use pagesight_core::seam::{Batch, PageSink};
    use pagesight_core::testing::{document_record, page_record};

    use super::*;
    use crate::{Reader, Writer, repair, verify};

    fn document(number: u32, pages: u32, edition: u32) -> (Batch, Vec<PageId>) {
        let name = format!("{number}.pdf");
        let id = DocumentId::of(name.as_bytes());
        let page = |n| page_record(id, n, &format!("edition{edition} of page {n}"), None);
        let pages_of: Vec<PageRecord> = (1..=pages).map(page).collect();
        let ids = pages_of.iter().map(|page| page.id).collect();
        let documents = vec![document_record(&name, id, pages)];
        (Batch { documents, pages: pages_of, ..Batch::default() }, ids)
    }

    fn has_file(index: &Path) -> bool {
        fs::read_dir(index.join(ADDRESSES)).is_ok_and(|mut files| files.next().is_some())
    }

    /// What a new process reads, and what it reads when it asks again for others of the same pages.
    fn read(index: &Path, pages: &[PageId]) -> Vec<PageRecord> {
        let reader = Reader::open(index).unwrap();
        let (first, rest) = pages.split_at(pages.len() / 3);
        let mut read = reader.pages(first).unwrap();
        read.extend(reader.pages(rest).unwrap());
        read
    }

    #[test]
    fn pages_are_found_however_many_of_them_are_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let index = dir.path().join("index");
        let mut writer = Writer::create(&index).unwrap();
        let (mut there, mut gone, mut seen_with_file) = (HashMap::new(), HashSet::new(), 0);
        for step in 0..60u32 {
            // New documents, those of before once more with other words, and some that go.
            let (number, edition) = (step % 23, step / 23);
            let (mut batch, ids) = document(number, 1 + step % 7, edition);
            if step % 5 == 4 {
                let dropped = step % 11;
                batch.dropped_paths.push(format!("{dropped}.pdf"));
                let id = DocumentId::of(format!("{dropped}.pdf").as_bytes());
                if dropped != number {
                    there.retain(|page: &PageId, _| page.document != id || !gone.insert(*page));
                }
            }
            there.extend(ids.into_iter().map(|page| (page, edition)));
            writer.commit(batch).unwrap();
            if step % 9 == 8 {
                writer.maintain(&AtomicBool::new(false)).unwrap();
            }
            gone.retain(|page| !there.contains_key(page));
            seen_with_file += usize::from(has_file(&index));
            let asked: Vec<PageId> = there.keys().chain(&gone).copied().collect();
            let found = read(&index, &asked);
            assert_eq!(found.len(), there.len(), "step {step}");
            for page in found {
                let said = format!("edition{} of page {}", there[&page.id], page.id.number);
                assert_eq!(page.text, said, "step {step}");
            }
        }
        assert!(seen_with_file > 20, "{seen_with_file} of 60 steps had a file of addresses");
    }

    #[test]
    fn a_damaged_file_is_done_without_and_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let index = dir.path().join("index");
        let mut writer = Writer::create(&index).unwrap();
        let mut all = Vec::new();
        for number in 0..40 {
            let (batch, ids) = document(number, 8, 0);
            writer.commit(batch).unwrap();
            all.extend(ids);
        }
        writer.maintain(&AtomicBool::new(false)).unwrap();
        drop(writer);
        let whole = read(&index, &all);
        assert_eq!(whole.len(), all.len());
        let file = fs::read_dir(index.join(ADDRESSES)).unwrap().next().unwrap().unwrap().path();
        let sound = fs::read(&file).unwrap();
        // In a block, in the list of fragments, in the trailer; cut; gone.
        for at in [100, sound.len() - 66, sound.len() - 20] {
            let mut bad = sound.clone();
            bad[at] ^= 1;
            fs::write(&file, bad).unwrap();
            assert_eq!(read(&index, &all), whole, "flipped at {at}");
        }
        fs::write(&file, &sound[..50]).unwrap();
        assert_eq!(read(&index, &all), whole);
        fs::remove_file(&file).unwrap();
        assert_eq!(read(&index, &all), whole);
        let damage = verify(&index).unwrap().damage;
        assert!(damage.len() == 1 && damage[0].file.starts_with(ADDRESSES), "{damage:?}");
        assert_eq!(repair(&index).unwrap().mended.len(), 1);
        assert!(verify(&index).unwrap().damage.is_empty());
        assert_eq!(read(&index, &all), whole);
    }
}
