//! Moves an index between machines as plain files.
//!
//! An export is a folder of two Arrow IPC files, which pyarrow, polars and DuckDB read as they
//! are, and a small file that names them with their hashes:
//!
//! ```text
//! documents.arrow  the ledger
//! pages.arrow      sizes, words, multi-vectors and layouts, with their checksums
//! N.passages, N.tokens   codes of the meaning of the words, where the index has them
//! export.json      format, model, counts, and the BLAKE3 hash of the others and of itself
//! ```
//!
//! Arrow IPC and not Parquet: the columns keep their types exactly (lists of fixed-size lists of
//! float16, which few readers of Parquet know), batches are written and read in bounded memory,
//! and its code is in the tree with lancedb already.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;
use pagesight_core::DocumentRecord;

use crate::error::StoreError;
use crate::lance::schema::{Rows, documents_batch, documents_schema, pages_batch, pages_schema};
use crate::lance::table::LanceTable;
use crate::reader::AsyncReader;
use crate::snapshot::contents::{Passages, Snapshot};
use crate::snapshot::files::{difference, sync_and_hash};
use crate::snapshot::names::{CODES, POOLED, TOKENS};
use crate::snapshot::pointer::{self, FORMAT};
use crate::snapshot::publish::replace;
use crate::writer::AsyncWriter;

const DOCUMENTS: &str = "documents.arrow";
const PAGES: &str = "pages.arrow";
const EXPORT: &str = "export.json";

/// See [`crate::export`].
pub(crate) async fn export(reader: &AsyncReader, to: &Path) -> Result<Snapshot, StoreError> {
    let mut snapshot = reader.snapshot.clone();
    if snapshot.compact.is_some() {
        return Err(StoreError::Compact { path: reader.shown() });
    }
    let fresh = fs::read_dir(to).map_or(true, |mut entries| entries.next().is_none());
    if !fresh {
        return Err(StoreError::Exists { path: to.to_path_buf() });
    }
    fs::create_dir_all(to).map_err(StoreError::io("making", to))?;
    write(&reader.documents, &documents_schema(), &to.join(DOCUMENTS), |rows| {
        Ok(documents_batch(&rows.documents()?))
    })
    .await?;
    let dim = snapshot.dim;
    write(&reader.pages, &pages_schema(dim), &to.join(PAGES), |rows| {
        let pages: Result<Vec<_>, _> = rows.every_page().into_iter().collect();
        Ok(pages_batch(dim, &pages?))
    })
    .await?;
    let mut files = BTreeSet::from([DOCUMENTS.to_string(), PAGES.to_string()]);
    for name in snapshot.passages.iter().flat_map(Passages::names) {
        copy(&reader.folder.join(CODES).join(name), &to.join(name))?;
        files.insert(name.clone());
    }
    // Last: without it there is no export.
    snapshot.files = sync_and_hash(to, &files, &BTreeMap::new())?;
    snapshot.format = FORMAT;
    snapshot.text_meta = String::new();
    replace(&to.join(EXPORT), &pointer::to_bytes(&snapshot))?;
    Ok(snapshot)
}

/// Writes `table`, batch by batch as `checked` gives it back.
async fn write(
    table: &LanceTable,
    schema: &Schema,
    path: &Path,
    mut checked: impl FnMut(Rows<'_>) -> Result<RecordBatch, StoreError>,
) -> Result<(), StoreError> {
    let file = File::create(path).map_err(StoreError::io("making", path))?;
    let wrong = || StoreError::arrow(path);
    let mut writer = FileWriter::try_new(BufWriter::new(file), schema).map_err(wrong())?;
    let mut stream = table.read(&[], None).await?;
    while let Some(batch) = stream.try_next().await? {
        let batch = checked(Rows { batch: &batch, path: &table.path })?;
        writer.write(&batch).map_err(wrong())?;
    }
    writer.finish().map_err(wrong())
}

/// See [`crate::import`].
pub(crate) async fn import(folder: &Path, from: &Path) -> Result<Snapshot, StoreError> {
    let path = from.join(EXPORT);
    let bytes = fs::read(&path).map_err(StoreError::io("reading", &path))?;
    let export = match pointer::parse(&path, &bytes) {
        Err(StoreError::Pointer { path, what }) => {
            return Err(StoreError::Export { path, what: what.into() });
        }
        other => other?,
    };
    let passages = export.passages.iter().flat_map(Passages::names).map(String::as_str);
    for name in [DOCUMENTS, PAGES].into_iter().chain(passages) {
        let path = from.join(name);
        // A file beside the description; a path could lead anywhere.
        let is_plain = Path::new(name).file_name().is_some_and(|file| *file == *name);
        let Some(mark) = export.files.get(name).filter(|_| is_plain) else {
            let what = format!("it does not name {name}");
            return Err(StoreError::Export { path: from.join(EXPORT), what });
        };
        if let Some(what) = difference(from, name, mark, true)? {
            return Err(StoreError::Export { path, what });
        }
    }
    let mut ledger: BTreeMap<String, DocumentRecord> = BTreeMap::new();
    read(&from.join(DOCUMENTS), |rows| {
        ledger.extend(rows.documents()?.into_iter().map(|record| (record.path.clone(), record)));
        Ok(())
    })?;
    let mut writer = match AsyncWriter::create(folder).await {
        // What an import that was cut off left.
        Err(error @ StoreError::Exists { .. }) => {
            let writer = AsyncWriter::open(folder).await?;
            if writer.snapshot.documents > 0 {
                return Err(error);
            }
            writer
        }
        other => other?,
    };
    let open = writer.open.as_ref().expect("a writer is open");
    let records: Vec<DocumentRecord> = ledger.into_values().collect();
    if !records.is_empty() {
        open.documents.add(documents_batch(&records)).await?;
    }
    let failed = Arc::new(Mutex::new(None));
    let pages = checked_pages(&from.join(PAGES), export.dim, Arc::clone(&failed))?;
    open.pages.overwrite(pages_schema(export.dim), futures::stream::iter(pages)).await?;
    if let Some(error) = failed.lock().expect("no panic under the lock").take() {
        return Err(error);
    }
    writer.ledger = records.into_iter().collect();
    writer.snapshot.dim = export.dim;
    writer.snapshot.model = export.model;
    writer.snapshot.grid = export.grid;
    writer.snapshot.codes = Some(writer.derive_codes().await?);
    writer.rebuild_text().await?;
    writer.snapshot.passages =
        export.passages.map(|named| take(folder, from, named)).transpose()?;
    writer.snapshot.no_passages = export.no_passages;
    writer.publish().await?;
    writer.maintain(&AtomicBool::new(false)).await?;
    Ok(writer.snapshot)
}

/// Takes the passages of an export over. Their files get names that no commit gives.
fn take(folder: &Path, from: &Path, named: Passages) -> Result<Passages, StoreError> {
    let codes = folder.join(CODES);
    fs::create_dir_all(&codes).map_err(StoreError::io("making", &codes))?;
    let take = |names: &[String], ending: &str| -> Result<Vec<String>, StoreError> {
        let taken = names.iter().enumerate().map(|(at, name)| {
            let taken = format!("imported-{at}{ending}");
            copy(&from.join(name), &codes.join(&taken)).map(|()| taken)
        });
        taken.collect()
    };
    let (pooled, tokens) = (take(&named.pooled, POOLED)?, take(&named.tokens, TOKENS)?);
    Ok(Passages { pooled, tokens, ..named })
}

fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::copy(from, to).map(drop).map_err(StoreError::io("copying", from))
}

/// The pages of an export until one is wrong; what is wrong goes to `failed`.
fn checked_pages(
    path: &Path,
    dim: usize,
    failed: Arc<Mutex<Option<StoreError>>>,
) -> Result<impl Iterator<Item = RecordBatch> + Send + use<>, StoreError> {
    let (reader, path) = (batches(path)?, path.to_path_buf());
    let check = move |batch: Result<RecordBatch, ArrowError>| {
        let batch = batch.map_err(StoreError::arrow(&path))?;
        let every = (Rows { batch: &batch, path: &path }).every_page();
        Ok(pages_batch(dim, &every.into_iter().collect::<Result<Vec<_>, _>>()?))
    };
    let sound = reader.map_while(move |batch| match check(batch) {
        Ok(batch) => Some(batch),
        Err(error) => {
            *failed.lock().expect("no panic under the lock") = Some(error);
            None
        }
    });
    // A table needs a batch, be it empty.
    Ok(std::iter::once(pages_batch(dim, &[])).chain(sound))
}

fn read(
    path: &Path,
    mut take: impl FnMut(Rows<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    for batch in batches(path)? {
        let batch = batch.map_err(StoreError::arrow(path))?;
        take(Rows { batch: &batch, path })?;
    }
    Ok(())
}

fn batches(path: &Path) -> Result<FileReader<BufReader<File>>, StoreError> {
    let file = File::open(path).map_err(StoreError::io("reading", path))?;
    FileReader::try_new(BufReader::new(file), None).map_err(StoreError::arrow(path))
}
