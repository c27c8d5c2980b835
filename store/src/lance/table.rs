//! A Lance table on disk: open at a version, read, delete, add, compact.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use lance::Dataset;
use lance::io::RecordBatchStream;
use lance::table::format::Fragment;
use lancedb::arrow::{SendableRecordBatchStream, SimpleRecordBatchStream};
use lancedb::query::{ExecutableQuery, QueryBase, QueryExecutionOptions, Select};
use lancedb::table::{AddDataMode, CompactionOptions, NewColumnTransform, OptimizeAction};
use lancedb::{Connection, ObjectStoreRegistry, Session, Table};
use pagesight_core::DocumentId;

use crate::error::StoreError;

/// Batches of rows on their way in. Lance panics on some damaged bytes; that comes as an error too.
pub(crate) type RowStream = BoxStream<'static, Result<RecordBatch, StoreError>>;

/// Rows of one read; 64 pages of 1,030 vectors of dim 128 are 17 MB.
pub(crate) const READ_ROWS: u32 = 64;

/// Rows of one read of short columns: a batch costs more than its rows.
const SHORT_ROWS: usize = 16_384;

/// Rows of a file that is not joined with others any more: 1 GB of pages, so that a large index
/// is not rewritten for a small change.
const FRAGMENT_ROWS: usize = 4_096;

/// Rows of one read while files are joined: several are under way at once, and each is held as it
/// was read and as it is written.
const JOIN_ROWS: usize = 16;

/// Read ahead while files are joined, bytes. Lance's default is 2 GiB.
const IO_BYTES: u64 = 64 << 20;

/// What Lance may keep of manifests and file ends, and of indexes, which we have none of, bytes.
/// Its defaults are 1 GiB and 6 GiB a connection.
pub(super) const METADATA_CACHE_BYTES: usize = 32 << 20;
pub(super) const INDEX_CACHE_BYTES: usize = 1 << 20;

/// Values of one `IN (...)`; longer lists are cut.
const MAX_LIST: usize = 500;

/// Connects to the folder of an index.
pub(crate) async fn connect(folder: &Path) -> Result<Connection, StoreError> {
    let uri = folder.to_string_lossy();
    let stores = Arc::new(ObjectStoreRegistry::default());
    let session = Arc::new(Session::new(INDEX_CACHE_BYTES, METADATA_CACHE_BYTES, stores));
    lancedb::connect(&uri)
        .session(session)
        .execute()
        .await
        .map_err(StoreError::table("opening", folder))
}

/// How the rows of a table lie in files.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shape {
    /// Files with fewer rows than a file that is left alone.
    pub small_files: usize,
    /// Some file has many deleted rows.
    pub holes: bool,
}

impl Shape {
    pub fn wants_compaction(self, few: usize) -> bool {
        self.holes || self.small_files > few
    }
}

/// One table at one version.
#[derive(Debug, Clone)]
pub(crate) struct LanceTable {
    pub path: PathBuf,
    pub(super) table: Table,
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

    /// Those of `columns` that the table has: one of an earlier format lacks some.
    async fn having<'a>(&self, columns: &[&'a str]) -> Result<Vec<&'a str>, StoreError> {
        let schema = self.table.schema().await.map_err(StoreError::table("reading", &self.path))?;
        let columns = columns.iter().copied();
        Ok(columns.filter(|name| schema.column_with_name(name).is_some()).collect())
    }

    /// Adds those of `fields` that the table lacks, null in every row: no row is written again.
    pub async fn add_missing_columns(&self, fields: &[Field]) -> Result<(), StoreError> {
        let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        let there = self.having(&names).await?;
        let missing: Vec<Field> = fields
            .iter()
            .filter(|field| !there.contains(&field.name().as_str()))
            .cloned()
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let nulls = NewColumnTransform::AllNulls(Arc::new(Schema::new(missing)));
        let added = self.table.add_columns().transform(nulls).execute().await;
        added.map(drop).map_err(StoreError::table("adding a column to", &self.path))
    }

    /// Reads `columns` (all when empty) of the rows that `filter`, SQL, lets through. Columns that
    /// the table lacks, since an earlier format made it, are left out.
    pub async fn read(
        &self,
        columns: &[&str],
        filter: Option<String>,
    ) -> Result<RowStream, StoreError> {
        self.read_by(READ_ROWS, columns, filter).await
    }

    /// As [`read`](Self::read), of a table whose rows are short.
    pub async fn read_short(&self, filter: Option<String>) -> Result<RowStream, StoreError> {
        self.read_by(SHORT_ROWS as u32, &[], filter).await
    }

    async fn read_by(
        &self,
        rows: u32,
        columns: &[&str],
        filter: Option<String>,
    ) -> Result<RowStream, StoreError> {
        let mut query = self.table.query();
        if !columns.is_empty() {
            query = query.select(Select::columns(&self.having(columns).await?));
        }
        if let Some(filter) = filter {
            query = query.only_if(filter);
        }
        let mut options = QueryExecutionOptions::default();
        options.max_batch_length = rows;
        self.rows_of(query.execute_with_options(options)).await
    }

    /// The rows that `query` gives. A panic of Lance, on damaged bytes, comes as an error.
    async fn rows_of(
        &self,
        query: impl Future<Output = lancedb::Result<SendableRecordBatchStream>>,
    ) -> Result<RowStream, StoreError> {
        let opened = AssertUnwindSafe(query).catch_unwind().await;
        let stream = opened.map_err(|_| StoreError::senseless(&self.path))?;
        let stream = stream.map_err(StoreError::table("reading", &self.path))?;
        let path = self.path.clone();
        let batch = move |batch: Result<lancedb::Result<RecordBatch>, _>| match batch {
            Ok(batch) => batch.map_err(StoreError::table("reading", &path)),
            Err(_) => Err(StoreError::senseless(&path)),
        };
        Ok(AssertUnwindSafe(stream).catch_unwind().map(batch).boxed())
    }

    /// As [`read`](Self::read), everything at once.
    pub async fn read_all(
        &self,
        columns: &[&str],
        filter: Option<String>,
    ) -> Result<Vec<RecordBatch>, StoreError> {
        self.read(columns, filter).await?.try_collect().await
    }

    /// `columns`, which are short, of the rows that pass `filter`, and of each the row id that
    /// [`take`](Self::take) finds it by; where `fragments` are named, of the rows in these alone.
    pub async fn stream_row_ids(
        &self,
        columns: &[&str],
        filter: Option<String>,
        fragments: Option<&BTreeSet<u32>>,
    ) -> Result<RowStream, StoreError> {
        let dataset = self.dataset().await?;
        let mut scan = dataset.scan();
        if let Some(numbers) = fragments {
            let all = dataset.fragments().iter();
            scan.with_fragments(
                all.filter(|one| numbers.contains(&(one.id as u32))).cloned().collect(),
            );
        }
        let rows = async {
            scan.project(columns)?.with_row_id().batch_size(SHORT_ROWS);
            if let Some(filter) = filter {
                scan.filter(&filter)?;
            }
            let rows = scan.try_into_stream().await?;
            let schema = rows.schema();
            let rows = SimpleRecordBatchStream::new(rows.map_err(Into::into), schema);
            Ok(Box::pin(rows) as SendableRecordBatchStream)
        };
        self.rows_of(rows).await
    }

    /// As [`stream_row_ids`](Self::stream_row_ids), all at once.
    pub async fn read_row_ids(
        &self,
        columns: &[&str],
        filter: Option<String>,
    ) -> Result<Vec<RecordBatch>, StoreError> {
        self.stream_row_ids(columns, filter, None).await?.try_collect().await
    }

    /// The numbers of its fragments, with the rows of each, deleted ones included.
    pub async fn fragments(&self) -> Result<BTreeMap<u32, usize>, StoreError> {
        let dataset = self.dataset().await?;
        let all = dataset.fragments().iter();
        Ok(all.map(|one| (one.id as u32, one.physical_rows.unwrap_or(0))).collect())
    }

    /// Whether row ids say where rows lie, as those of our tables do: the fragment, and the row in it.
    pub async fn has_addresses_as_row_ids(&self) -> Result<bool, StoreError> {
        Ok(!self.dataset().await?.manifest().uses_stable_row_ids())
    }

    /// As [`read_row_ids`](Self::read_row_ids), of the rows of `fragments` alone.
    pub async fn read_row_ids_of(
        &self,
        columns: &[&str],
        fragments: Vec<Fragment>,
    ) -> Result<Vec<RecordBatch>, StoreError> {
        let dataset = self.dataset().await?;
        let reading = |error: lance::Error| StoreError::table("reading", &self.path)(error.into());
        let read = async {
            let mut scan = dataset.scan();
            scan.with_fragments(fragments).with_row_id().project(columns)?;
            scan.try_into_stream().await?.try_collect::<Vec<_>>().await
        };
        // As with all reading: Lance panics on some damaged bytes.
        let read = AssertUnwindSafe(read).catch_unwind().await;
        read.map_err(|_| StoreError::senseless(&self.path))?.map_err(reading)
    }

    /// `columns`, as far as the table has them, of the rows with these ids, in any order.
    pub async fn take(
        &self,
        columns: &[&str],
        row_ids: Vec<u64>,
    ) -> Result<Vec<RecordBatch>, StoreError> {
        if row_ids.is_empty() {
            return Ok(Vec::new());
        }
        let columns = self.having(columns).await?;
        let query = self.table.take_row_ids(row_ids).select(Select::columns(&columns));
        self.rows_of(query.execute()).await?.try_collect().await
    }

    pub async fn delete(&self, filter: &str) -> Result<(), StoreError> {
        let deleted = self.table.delete(filter).await;
        deleted.map(drop).map_err(StoreError::table("writing", &self.path))
    }

    pub async fn add(&self, batch: RecordBatch) -> Result<(), StoreError> {
        let added = self.table.add(batch).execute().await;
        added.map(drop).map_err(StoreError::table("writing", &self.path))
    }

    /// Adds `batches`, each made when the one before is written, as one file.
    pub async fn append(
        &self,
        schema: SchemaRef,
        batches: impl Iterator<Item = RecordBatch> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.write(AddDataMode::Append, schema, futures::stream::iter(batches)).await
    }

    /// Replaces content and schema; older versions stay readable.
    pub async fn overwrite(
        &self,
        schema: SchemaRef,
        batches: impl Stream<Item = RecordBatch> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.write(AddDataMode::Overwrite, schema, batches).await
    }

    async fn write(
        &self,
        mode: AddDataMode,
        schema: SchemaRef,
        batches: impl Stream<Item = RecordBatch> + Send + 'static,
    ) -> Result<(), StoreError> {
        let stream = SimpleRecordBatchStream::new(batches.map(Ok), schema);
        let stream: SendableRecordBatchStream = Box::pin(stream);
        // Several writers would each keep rows of their own, and make a file each.
        let written = self.table.add(stream).mode(mode).write_parallelism(1).execute().await;
        written.map(drop).map_err(StoreError::table("writing", &self.path))
    }

    /// Joins small files. Those of older versions stay until garbage is collected. Only under the
    /// writer's lock.
    pub async fn compact(&self) -> Result<(), StoreError> {
        let options = CompactionOptions {
            target_rows_per_fragment: FRAGMENT_ROWS,
            batch_size: Some(JOIN_ROWS),
            io_buffer_size: Some(IO_BYTES),
            num_threads: Some(1),
            ..Default::default()
        };
        let compact = OptimizeAction::Compact { options, remap_options: None };
        let compacted = self.table.optimize(compact).await;
        compacted.map(drop).map_err(StoreError::table("compacting", &self.path))
    }

    /// The files that this version needs, by their path below the index.
    pub async fn files_in_use(&self) -> Result<BTreeSet<String>, StoreError> {
        Ok(files_of(&*self.dataset().await?, &self.path))
    }

    /// What lancedb keeps of this version.
    pub(crate) async fn dataset(&self) -> Result<Arc<Dataset>, StoreError> {
        let dataset = self.table.dataset().expect("a table of Lance");
        dataset.get().await.map_err(StoreError::table("reading", &self.path))
    }

    /// How its rows lie in files.
    pub async fn shape(&self) -> Result<Shape, StoreError> {
        let dataset = self.dataset().await?;
        let mut shape = Shape::default();
        for fragment in dataset.fragments().iter() {
            let rows = fragment.physical_rows.unwrap_or(0);
            let deleted = fragment.deletion_file.as_ref().and_then(|f| f.num_deleted_rows);
            shape.small_files += usize::from(rows < FRAGMENT_ROWS);
            // Lance drops them beyond a tenth.
            shape.holes |= deleted.unwrap_or(0) * 10 > rows;
        }
        Ok(shape)
    }
}

/// The files that the version `dataset` of the table at `path` needs, by their name below the index.
pub(super) fn files_of(dataset: &Dataset, path: &Path) -> BTreeSet<String> {
    let folder = path.file_name().expect("a table has a name").to_string_lossy();
    let mut files = BTreeSet::new();
    let manifest = dataset.manifest_location().path.filename().expect("a manifest is a file");
    files.insert(format!("{folder}/_versions/{manifest}"));
    files.extend(
        dataset.fragments().iter().flat_map(|fragment| files_of_fragment(fragment, &folder)),
    );
    files
}

/// The files that `fragment` of the table in `folder` needs, by their name below the index.
pub(super) fn files_of_fragment<'a>(
    fragment: &'a Fragment,
    folder: &'a str,
) -> impl Iterator<Item = String> + 'a {
    let deleted = fragment.deletion_file.as_ref().map(|deleted| {
        let (suffix, version) = (deleted.file_type.suffix(), deleted.read_version);
        format!("{folder}/_deletions/{}-{version}-{}.{suffix}", fragment.id, deleted.id)
    });
    let data = fragment.files.iter().map(move |file| format!("{folder}/data/{}", file.path));
    data.chain(deleted)
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
pub(crate) fn document_filter(documents: Option<&HashSet<DocumentId>>) -> Option<String> {
    let documents = documents.filter(|d| d.len() <= MAX_LIST)?;
    let filter = any_of("document", documents.iter().map(ToString::to_string)).pop();
    Some(filter.unwrap_or_else(|| "false".into()))
}
