//! The texts of pages on this machine: a copy of what hits show, so that an answer neither asks the bucket
//! for it nor waits for one that is out of reach.
//!
//! Each file of the table of pages has one here, which is made while nobody waits for it: its rows without
//! the vectors, as Arrow IPC, some rows a batch. A row is found by where it is in the file of the table,
//! which never changes. Batches carry checksums, and so does every page.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::UInt64Type;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use lance::table::format::Fragment;
use pagesight_core::{PageId, PageRecord};
use serde::{Deserialize, Serialize};

use super::sparse::part_of;
use crate::error::StoreError;
use crate::lance::schema::{Rows, TEXT_COLUMNS};
use crate::lance::table::LanceTable;

/// Folder of the texts in the copy.
pub(super) const TEXTS: &str = "texts";

/// Rows of a batch: what is read for one page.
const BATCH: usize = 16;

/// The column that says where in the file of the table a row is.
const ROW: &str = "_rowid";

/// The texts in the copy of an index.
#[derive(Clone)]
pub(crate) struct Texts {
    folder: PathBuf,
}

impl Texts {
    /// Those in the copy in `folder`.
    pub fn in_copy(folder: &Path) -> Self {
        Self { folder: folder.join(TEXTS) }
    }

    /// Where those of the file `name` of the table lie.
    fn path_of(&self, name: &str) -> PathBuf {
        self.folder.join(name).with_extension("arrow")
    }

    fn path(&self, fragment: &Fragment) -> Option<PathBuf> {
        Some(self.path_of(&fragment.files.first()?.path))
    }

    /// The files of the table whose texts are not here, the newest first.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn missing(&self, table: &LanceTable) -> Result<Vec<Fragment>, StoreError> {
        let dataset = table.dataset().await?;
        let fragments = dataset.fragments();
        let is_missing =
            |fragment: &&Fragment| self.path(fragment).is_some_and(|path| !path.is_file());
        Ok(fragments.iter().rev().filter(is_missing).cloned().collect())
    }

    /// Brings the texts of `fragment` here if `fits` lets their bytes.
    ///
    /// # Errors
    /// What cannot be read or written.
    pub async fn bring(
        &self,
        table: &LanceTable,
        fragment: Fragment,
        fits: impl FnOnce(u64) -> bool,
    ) -> Result<bool, StoreError> {
        let Some(path) = self.path(&fragment) else { return Ok(true) };
        let batches = table.read_row_ids_of(&TEXT_COLUMNS, vec![fragment]).await?;
        let Some(first) = batches.first() else { return Ok(true) };
        if !fits(batches.iter().map(|batch| batch.get_array_memory_size() as u64).sum()) {
            return Ok(false);
        }
        let senseless = |_| StoreError::senseless(&table.path);
        let rows = concat_batches(&first.schema(), &batches).map_err(senseless)?;
        fs::create_dir_all(&self.folder).map_err(StoreError::io("making", &self.folder))?;
        let part = part_of(&path);
        let written = write(&part, &rows)
            .and_then(|()| fs::rename(&part, &path).map_err(StoreError::io("writing", &path)));
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        written.map(|()| true)
    }

    /// Those of the pages `rows`, by their row ids in `table`, whose texts are here and sound.
    ///
    /// # Errors
    /// When it is not known which files the table has.
    pub async fn pages(
        &self,
        table: &LanceTable,
        rows: &[(PageId, u64)],
    ) -> Result<Vec<PageRecord>, StoreError> {
        if rows.is_empty() || !self.folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut wanted: HashMap<u64, Vec<(PageId, u64)>> = HashMap::new();
        for &(page, row) in rows {
            wanted.entry(row >> 32).or_default().push((page, row));
        }
        let dataset = table.dataset().await?;
        let mut found = Vec::new();
        for fragment in dataset.fragments().iter() {
            let (Some(pages), Some(path)) = (wanted.get(&fragment.id), self.path(fragment)) else {
                continue;
            };
            // What cannot be read here, or is damaged, is read in the bucket.
            match read(&path, pages) {
                Some(pages) => found.extend(pages),
                None => _ = fs::remove_file(&path),
            }
        }
        Ok(found)
    }

    /// Removes all that is not of a file `is_needed` of the table.
    pub fn tidy(&self, is_needed: impl Fn(&Path) -> bool) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if !is_needed(&entry.path()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Where the texts of the files `names` of the table lie.
    pub fn paths<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<PathBuf> {
        names.map(|name| self.path_of(name)).collect()
    }
}

/// Where some rows lie in a file of texts.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Batch {
    /// The first row, as the file of the table counts them.
    row: u32,
    start: u64,
    bytes: u32,
    crc32c: u32,
}

/// Bytes of the trailer: those of the list of batches, and its CRC32C.
const TRAILER: usize = 8;

/// Writes `rows` in batches, each an IPC stream, and after them where each of them lies. Arrow's reader
/// trusts what it reads, so that all of it has a checksum.
fn write(path: &Path, rows: &RecordBatch) -> Result<(), StoreError> {
    let (mut file, mut list) = (Vec::new(), Vec::new());
    let mut encode = || -> Result<(), ArrowError> {
        for start in (0..rows.num_rows()).step_by(BATCH) {
            let batch = rows.slice(start, BATCH.min(rows.num_rows() - start));
            let row = rows_in(&batch).and_then(|rows| rows.first().copied()).unwrap_or_default();
            let start = file.len();
            let mut writer = StreamWriter::try_new(&mut file, &batch.schema())?;
            writer.write(&batch)?;
            writer.finish()?;
            drop(writer);
            let bytes = &file[start..];
            let (bytes, crc32c) = (bytes.len() as u32, crc32c::crc32c(bytes));
            list.push(Batch { row, start: start as u64, bytes, crc32c });
        }
        Ok(())
    };
    let failed = |error: ArrowError| StoreError::io("writing", path)(io::Error::other(error));
    encode().map_err(failed)?;
    let list = serde_json::to_vec(&list).expect("plain data");
    let trailer = [list.len() as u32, crc32c::crc32c(&list)].map(u32::to_le_bytes);
    file.extend(list);
    file.extend(trailer.as_flattened());
    fs::write(path, file).map_err(StoreError::io("writing", path))
}

/// Where in the file of the table the rows of `batch` are, in order. Their fragment has another number in a
/// table that was made anew.
fn rows_in(batch: &RecordBatch) -> Option<Vec<u32>> {
    let rows = batch.column_by_name(ROW)?.as_primitive_opt::<UInt64Type>()?;
    Some(rows.values().iter().map(|row| *row as u32).collect())
}

/// The pages `wanted`, each with its row id, of the file at `path`; `None` for a file that is not what was
/// written.
fn read(path: &Path, wanted: &[(PageId, u64)]) -> Option<Vec<PageRecord>> {
    let Ok(mut file) = File::open(path) else { return Some(Vec::new()) };
    let list = batches(&mut file)?;
    let mut found = Vec::with_capacity(wanted.len());
    for &(page, row) in wanted {
        let row = row as u32;
        let after = list.partition_point(|batch| batch.row <= row);
        let Some(batch) = after.checked_sub(1).map(|at| list[at]) else { continue };
        let bytes = bytes_at(&mut file, batch.start, batch.bytes as usize)?;
        if crc32c::crc32c(&bytes) != batch.crc32c {
            return None;
        }
        let batch = StreamReader::try_new(&*bytes, None).ok()?.next()?.ok()?;
        // Some rows were deleted before they came here.
        let Some(at) = rows_in(&batch)?.iter().position(|there| *there == row) else { continue };
        let one = batch.slice(at, 1);
        let record = Rows { batch: &one, path }.pages().ok()?.pop()?;
        if record.id != page {
            return None;
        }
        found.push(record);
    }
    Some(found)
}

/// Where the batches of a file lie.
fn batches(file: &mut File) -> Option<Vec<Batch>> {
    let length = file.metadata().ok()?.len();
    let trailer = bytes_at(file, length.checked_sub(TRAILER as u64)?, TRAILER)?;
    let (bytes, crc32c) = trailer.split_first_chunk::<4>()?;
    let (bytes, crc32c) = (u32::from_le_bytes(*bytes), crc32c.try_into().ok()?);
    let start = length.checked_sub(TRAILER as u64 + u64::from(bytes))?;
    let list = bytes_at(file, start, bytes as usize)?;
    (crc32c::crc32c(&list) == u32::from_le_bytes(crc32c)).then_some(())?;
    serde_json::from_slice(&list).ok()
}

fn bytes_at(file: &mut File, start: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.seek(SeekFrom::Start(start)).ok()?;
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}
