//! Where the rows of very many pages lie, as a file that is mapped and of which a look-up reads a few
//! blocks.
//!
//! | part | bytes | content |
//! |---|---|---|
//! | blocks | 4,096 each | up to 204 entries of 20 bytes in order, zeros, CRC32C of all before it u32 |
//! | fragments | 4 each | numbers of the table's fragments whose rows the entries are, u32, in order |
//! | trailer | 64 | entries u64, fragments u64, CRC32C of the fragments and of the trailer up to here u32, zeros, `PSROWS-1` |
//!
//! An entry is the first 8 bytes of the document's id, the number of the page, u32 big-endian, and the
//! row id, u64 big-endian: sorted as bytes, the rows of a page lie together. Documents whose ids begin
//! alike are told apart by the rows themselves. All other numbers are little-endian.
//!
//! The file is derived from the table. It is made anew when many rows are not in it; rows of fragments
//! that it does not have are found in the table, and those that were deleted since give nothing when they
//! are taken.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use pagesight_core::PageId;
use tantivy::directory::{Directory, MmapDirectory, OwnedBytes};

use crate::error::StoreError;

const MAGIC: [u8; 8] = *b"PSROWS-1";
const BLOCK: usize = 4_096;
const TRAILER: usize = 64;
const IN_BLOCK: usize = (BLOCK - size_of::<u32>()) / ENTRY;

/// Bytes of an entry, and of what it is found by: document and number.
const ENTRY: usize = 20;
const KEY: usize = 12;

/// The place of a row: what its page is found by, and its row id. In order as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place([u8; ENTRY]);

impl Place {
    pub fn new(page: PageId, row_id: u64) -> Self {
        let mut entry = [0; ENTRY];
        entry[..KEY].copy_from_slice(&key(page));
        entry[KEY..].copy_from_slice(&row_id.to_be_bytes());
        Self(entry)
    }
}

fn key(page: PageId) -> [u8; KEY] {
    let mut key = [0; KEY];
    key[..8].copy_from_slice(&page.document.0[..8]);
    key[8..].copy_from_slice(&page.number.to_be_bytes());
    key
}

/// The file is not what was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damaged;

/// A file of addresses, mapped.
pub(super) struct AddressFile {
    bytes: OwnedBytes,
    entries: usize,
    fragments: BTreeSet<u32>,
}

impl AddressFile {
    /// Maps the file at `path`; `None` when it is not one, is damaged, or cannot be read: it is derived.
    pub fn open(path: &Path) -> Option<Self> {
        let folder = MmapDirectory::open(path.parent()?).ok()?;
        let file = folder.open_read(Path::new(path.file_name()?)).ok()?;
        Self::over(file.read_bytes().ok()?)
    }

    fn over(bytes: OwnedBytes) -> Option<Self> {
        let (rest, trailer) = bytes.split_last_chunk::<TRAILER>()?;
        if trailer[TRAILER - MAGIC.len()..] != MAGIC {
            return None;
        }
        let number =
            |at: usize| u64::from_le_bytes(*trailer[at..].first_chunk().expect("64 bytes"));
        let (entries, fragments) =
            (usize::try_from(number(0)).ok()?, usize::try_from(number(8)).ok()?);
        let blocks = entries.div_ceil(IN_BLOCK).checked_mul(BLOCK)?;
        let list = rest.get(blocks..)?;
        let sum = crc32c::crc32c_append(crc32c::crc32c(list), &trailer[..16]);
        if fragments.checked_mul(4)? != list.len() || trailer[16..20] != sum.to_le_bytes() {
            return None;
        }
        let fragments = list.as_chunks().0.iter().map(|one| u32::from_le_bytes(*one)).collect();
        Some(Self { bytes, entries, fragments })
    }

    /// The fragments whose rows it has.
    pub fn fragments(&self) -> &BTreeSet<u32> {
        &self.fragments
    }

    /// The row ids of what may be `page`, those of deleted rows and of fragments that are gone included.
    ///
    /// # Errors
    /// [`Damaged`].
    pub fn row_ids(&self, page: PageId) -> Result<Vec<u64>, Damaged> {
        let wanted = key(page);
        // The last block that begins before it, which may have it, and those that begin with it.
        let (mut first, mut end) = (0, self.entries.div_ceil(IN_BLOCK));
        while first < end {
            let middle = first + (end - first) / 2;
            if self.block(middle)?[0][..KEY] < wanted[..] {
                first = middle + 1;
            } else {
                end = middle;
            }
        }
        let mut row_ids = Vec::new();
        for number in first.saturating_sub(1)..self.entries.div_ceil(IN_BLOCK) {
            let entries = self.block(number)?;
            let from = entries.partition_point(|entry| entry[..KEY] < wanted[..]);
            let of_page = entries[from..].iter().take_while(|entry| entry[..KEY] == wanted[..]);
            row_ids.extend(
                of_page.map(|entry| {
                    u64::from_be_bytes(*entry[KEY..].first_chunk().expect("20 bytes"))
                }),
            );
            if entries.last().is_some_and(|last| last[..KEY] > wanted[..]) {
                break;
            }
        }
        Ok(row_ids)
    }

    /// The entries of a block, at least one.
    fn block(&self, number: usize) -> Result<&[[u8; ENTRY]], Damaged> {
        let block = self.bytes.get(number * BLOCK..(number + 1) * BLOCK).ok_or(Damaged)?;
        let (content, sum) = block.split_last_chunk().ok_or(Damaged)?;
        if crc32c::crc32c(content) != u32::from_le_bytes(*sum) {
            return Err(Damaged);
        }
        let count = (self.entries - number * IN_BLOCK).min(IN_BLOCK);
        Ok(&content.as_chunks().0[..count])
    }
}

/// Writes the file at `path` of `places`, the rows of `fragments`. It is synced by who publishes it.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(
    path: &Path,
    mut places: Vec<Place>,
    fragments: &BTreeSet<u32>,
) -> Result<(), StoreError> {
    places.sort_unstable();
    let write = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for some in places.chunks(IN_BLOCK) {
            let mut block = [0; BLOCK];
            for (slot, place) in block.chunks_exact_mut(ENTRY).zip(some) {
                slot.copy_from_slice(&place.0);
            }
            let end = BLOCK - size_of::<u32>();
            let sum = crc32c::crc32c(&block[..end]);
            block[end..].copy_from_slice(&sum.to_le_bytes());
            file.write_all(&block)?;
        }
        let list: Vec<u8> = fragments.iter().flat_map(|number| number.to_le_bytes()).collect();
        file.write_all(&list)?;
        let mut trailer = [0; TRAILER];
        trailer[..8].copy_from_slice(&(places.len() as u64).to_le_bytes());
        trailer[8..16].copy_from_slice(&(fragments.len() as u64).to_le_bytes());
        let sum = crc32c::crc32c_append(crc32c::crc32c(&list), &trailer[..16]);
        trailer[16..20].copy_from_slice(&sum.to_le_bytes());
        trailer[TRAILER - MAGIC.len()..].copy_from_slice(&MAGIC);
        file.write_all(&trailer)?;
        file.flush()
    };
    write().map_err(StoreError::io("writing", path))
}

#[cfg(test)]
mod tests {
    use pagesight_core::DocumentId;

    use super::*;

    fn page(document: u32, number: u32) -> PageId {
        PageId { document: DocumentId::of(&document.to_le_bytes()), number }
    }

    /// The rows of 20 pages of each of `documents`, and their bytes.
    fn file(documents: u32) -> (Vec<(PageId, u64)>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.rows");
        let pages = (0..documents).flat_map(|document| (1..=20).map(move |n| page(document, n)));
        let rows: Vec<(PageId, u64)> = pages.zip(7..).collect();
        let places = rows.iter().map(|(page, row)| Place::new(*page, *row)).collect();
        write(&path, places, &BTreeSet::from([0, 3])).unwrap();
        (rows, std::fs::read(path).unwrap())
    }

    fn open(bytes: Vec<u8>) -> Option<AddressFile> {
        AddressFile::over(OwnedBytes::new(bytes))
    }

    #[test]
    fn each_page_is_found_and_no_other() {
        for documents in [0, 1, 10, 11, 500] {
            let (rows, bytes) = file(documents);
            let file = open(bytes).unwrap();
            for (page, row) in &rows {
                assert_eq!(file.row_ids(*page), Ok(vec![*row]), "{documents}: {page}");
            }
            for stranger in (0..100).map(|n| page(1_000 + n, 1)).chain([page(0, 21), page(0, 0)]) {
                assert_eq!(file.row_ids(stranger), Ok(Vec::new()));
            }
            assert_eq!(file.fragments(), &BTreeSet::from([0, 3]));
        }
    }

    #[test]
    fn a_page_that_was_written_many_times_has_all_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.rows");
        // Over several blocks, from the end of one to the beginning of another.
        let mut places: Vec<Place> = (0..600).map(|row| Place::new(page(1, 2), row)).collect();
        places.extend((600..800).map(|row| Place::new(page(1, 1), row)));
        places.extend((800..900).map(|row| Place::new(page(1, 3), row)));
        write(&path, places, &BTreeSet::new()).unwrap();
        let file = AddressFile::open(&path).unwrap();
        for (number, rows) in [(1, 600..800), (2, 0..600), (3, 800..900)] {
            assert_eq!(file.row_ids(page(1, number)), Ok(rows.collect::<Vec<u64>>()));
        }
    }

    #[test]
    fn no_flipped_bit_leads_to_another_row() {
        let (rows, bytes) = file(30);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x20;
            let Some(file) = open(bad) else { continue };
            for (page, row) in rows.iter().step_by(37) {
                assert!(matches!(file.row_ids(*page), Err(Damaged) | Ok(_)), "{at}");
                if let Ok(found) = file.row_ids(*page) {
                    assert_eq!(found, [*row], "{at}: {page}");
                }
            }
        }
        for cut in 0..bytes.len() {
            assert!(open(bytes[..cut].to_vec()).is_none(), "{cut}");
        }
    }
}
