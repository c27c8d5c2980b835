//! The Lance tables on disk: open at a version, read, delete, add, compact.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::{RecordBatch, RecordBatchIterator};
use arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use lancedb::arrow::SendableRecordBatchStream;
use lancedb::query::{ExecutableQuery, QueryBase, QueryExecutionOptions, Select};
use lancedb::table::{AddDataMode, CompactionOptions, OptimizeAction};
use lancedb::{Connection, Table};

use crate::StoreError;

/// Rows of one read; 64 pages of 1,030 vectors of dim 128 are 17 MB.
const READ_ROWS: u32 = 64;

/// Rows of a file that is not joined with others any more: 1 GB of pages, so that a large index
/// is not rewritten for a small change.
const FRAGMENT_ROWS: usize = 4_096;

/// Read ahead while files are joined, bytes. Lance's default is 2 GiB.
const IO_BYTES: u64 = 64 << 20;

/// Values of one `IN (...)`; longer lists are cut.
const MAX_LIST: usize = 500;

/// Connects to the folder of an index.
pub(crate) async fn connect(folder: &Path) -> Result<Connection, StoreError> {
    let uri = folder.to_string_lossy();
    lancedb::connect(&uri).execute().await.map_err(StoreError::table("opening", folder))
}

/// One table at one version.
#[derive(Debug, Clone)]
pub(crate) struct LanceTable {
    pub path: PathBuf,
    table: Table,
}

impl LanceTable {
    /// Makes an empty table.
    pub async fn create(
        connection: &Connection,
        folder: &Path,
        name: &str,
        schema: SchemaRef,
    ) -> Result<Self, StoreError> {
        let path = folder.join(format!("{name}.lance"));
        let table = connection.create_empty_table(name, schema).execute().await;
        Ok(Self { table: table.map_err(StoreError::table("making", &path))?, path })
    }

    /// Opens a table for reading, pinned to `version`.
    pub async fn at(
        connection: &Connection,
        folder: &Path,
        name: &str,
        version: u64,
    ) -> Result<Self, StoreError> {
        let path = folder.join(format!("{name}.lance"));
        let opening = || StoreError::table("opening", &path);
        let table = connection.open_table(name).execute().await.map_err(opening())?;
        table.checkout(version).await.map_err(opening())?;
        Ok(Self { table, path })
    }

    /// Opens a table for writing; what came after `version` (a commit that was cut off) is undone.
    pub async fn writable(
        connection: &Connection,
        folder: &Path,
        name: &str,
        version: u64,
    ) -> Result<Self, StoreError> {
        let this = Self::at(connection, folder, name, version).await?;
        this.table.checkout_latest().await.map_err(StoreError::table("opening", &this.path))?;
        if this.version().await? != version {
            let undoing = || StoreError::table("undoing an unfinished commit in", &this.path);
            this.table.checkout(version).await.map_err(undoing())?;
            this.table.restore().await.map_err(undoing())?;
        }
        Ok(this)
    }

    pub async fn version(&self) -> Result<u64, StoreError> {
        self.table.version().await.map_err(StoreError::table("reading", &self.path))
    }

    pub async fn rows(&self) -> Result<u64, StoreError> {
        let rows = self.table.count_rows(None).await;
        rows.map(|n| n as u64).map_err(StoreError::table("reading", &self.path))
    }

    /// Reads `columns` (all when empty) of the rows that `filter`, SQL, lets through.
    pub async fn read(
        &self,
        columns: &[&str],
        filter: Option<String>,
    ) -> Result<SendableRecordBatchStream, StoreError> {
        let mut query = self.table.query();
        if !columns.is_empty() {
            query = query.select(Select::columns(columns));
        }
        if let Some(filter) = filter {
            query = query.only_if(filter);
        }
        let mut options = QueryExecutionOptions::default();
        options.max_batch_length = READ_ROWS;
        query.execute_with_options(options).await.map_err(StoreError::table("reading", &self.path))
    }

    /// As [`read`](Self::read), everything at once.
    pub async fn read_all(
        &self,
        columns: &[&str],
        filter: Option<String>,
    ) -> Result<Vec<RecordBatch>, StoreError> {
        let stream = self.read(columns, filter).await?;
        stream.try_collect().await.map_err(StoreError::table("reading", &self.path))
    }

    pub async fn delete(&self, filter: &str) -> Result<(), StoreError> {
        let deleted = self.table.delete(filter).await;
        deleted.map(drop).map_err(StoreError::table("writing", &self.path))
    }

    pub async fn add(&self, batch: RecordBatch) -> Result<(), StoreError> {
        let added = self.table.add(batch).execute().await;
        added.map(drop).map_err(StoreError::table("writing", &self.path))
    }

    /// Replaces content and schema; older versions stay readable.
    pub async fn overwrite(
        &self,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> Result<(), StoreError> {
        let reader: Box<dyn arrow::array::RecordBatchReader + Send> =
            Box::new(RecordBatchIterator::new(batches.into_iter().map(Ok), schema));
        let written = self.table.add(reader).mode(AddDataMode::Overwrite).execute().await;
        written.map(drop).map_err(StoreError::table("writing", &self.path))
    }

    /// Joins small files and drops versions older than `keep`. Only under the writer's lock.
    pub async fn compact(&self, keep: Duration) -> Result<(), StoreError> {
        let compacting = || StoreError::table("compacting", &self.path);
        let options = CompactionOptions {
            target_rows_per_fragment: FRAGMENT_ROWS,
            batch_size: Some(READ_ROWS as usize),
            io_buffer_size: Some(IO_BYTES),
            num_threads: Some(1),
            ..Default::default()
        };
        let compact = OptimizeAction::Compact { options, remap_options: None };
        self.table.optimize(compact).await.map_err(compacting())?;
        let older_than = chrono_duration(keep);
        // No transaction is under way: we hold the lock.
        let prune = OptimizeAction::Prune {
            older_than,
            delete_unverified: Some(true),
            error_if_tagged_old_versions: Some(false),
        };
        self.table.optimize(prune).await.map(drop).map_err(compacting())
    }
}

fn chrono_duration(keep: Duration) -> Option<lancedb::table::Duration> {
    lancedb::table::Duration::try_seconds(keep.as_secs() as i64)
}

/// `column IN ('a', 'b')`, in pieces of at most 500 values.
pub(crate) fn any_of<S: AsRef<str>>(
    column: &str,
    values: impl IntoIterator<Item = S>,
) -> Vec<String> {
    let quoted: Vec<String> =
        values.into_iter().map(|v| format!("'{}'", v.as_ref().replace('\'', "''"))).collect();
    quoted.chunks(MAX_LIST).map(|list| format!("{column} IN ({})", list.join(", "))).collect()
}

/// A filter for a set of documents, when it is short enough to help.
pub(crate) fn document_filter(
    documents: Option<&HashSet<pagesight_core::DocumentId>>,
) -> Option<String> {
    let documents = documents.filter(|d| d.len() <= MAX_LIST)?;
    let filter = any_of("document", documents.iter().map(ToString::to_string)).pop();
    Some(filter.unwrap_or_else(|| "false".into()))
}
