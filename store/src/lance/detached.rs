//! Tables in a bucket, and versions of them that stand beside Lance's own line of versions.
//!
//! Many programs write to a bucket at once, and Lance's own way (who comes second rebases) would
//! make versions that no snapshot of ours asked for. So each committer builds on the version that
//! its snapshot names and writes one *detached* version, which only the snapshot that names it makes
//! count. A committer that loses leaves behind a version that nobody names.
//!
//! Lance's own cleanup knows no detached versions and would take their files. So the newest version
//! of Lance's own line is brought up to the snapshot after a commit ([`Detached::bring_up`]): then
//! other clients of Lance see the newest rows, and such a cleanup takes nothing that is needed.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use lance::Dataset;
use lance::dataset::transaction::{Operation, Transaction};
use lance::dataset::{
    CommitBuilder, DeleteBuilder, InsertBuilder, ReadParams, WriteMode, WriteParams,
};
use lance::io::{ObjectStoreParams, ObjectStoreRegistry};
use lance::session::Session;
use lance::table::format::Fragment;
use lancedb::Table;
use lancedb::table::{BaseTable, NativeTable};

use super::table::{INDEX_CACHE_BYTES, LanceTable, METADATA_CACHE_BYTES, files_of_fragment};
use crate::error::StoreError;

/// Where the tables of an index in a bucket are, and with what Lance reads them.
#[derive(Clone)]
pub(crate) struct TablePlace {
    /// Of the index, as Lance knows it.
    pub url: String,
    /// Of the index, for errors.
    pub shown: PathBuf,
    pub params: ObjectStoreParams,
    session: Arc<Session>,
}

impl TablePlace {
    /// The tables below `url`.
    pub fn new(
        url: String,
        shown: PathBuf,
        params: ObjectStoreParams,
        registry: Arc<ObjectStoreRegistry>,
    ) -> Self {
        let session = Session::new(INDEX_CACHE_BYTES, METADATA_CACHE_BYTES, registry);
        Self { url, shown, params, session: Arc::new(session) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.shown.join(format!("{name}.lance"))
    }

    /// Opens the table `name`, at `version`, or at the newest of Lance's own line.
    pub async fn open(&self, name: &str, version: Option<u64>) -> Result<LanceTable, StoreError> {
        let path = self.path(name);
        let opening = || StoreError::table("opening", &path);
        let params = ReadParams {
            session: Some(Arc::clone(&self.session)),
            store_options: Some(self.params.clone()),
            ..ReadParams::default()
        };
        let url = format!("{}/{name}.lance", self.url);
        let (none, params) = (Vec::new(), Some(params));
        let opened = NativeTable::open_with_params(
            &url,
            name,
            none,
            None,
            params,
            None,
            None,
            HashSet::new(),
            None,
        );
        let table = Table::from(Arc::new(opened.await.map_err(opening())?) as Arc<dyn BaseTable>);
        if let Some(version) = version {
            table.checkout(version).await.map_err(opening())?;
        }
        Ok(LanceTable { table, path })
    }

    /// Makes the empty table `name` where there is none; another may be doing the same.
    pub async fn make(&self, name: &str, schema: SchemaRef) -> Result<(), StoreError> {
        let params = WriteParams {
            mode: WriteMode::Create,
            store_params: Some(self.params.clone()),
            session: Some(Arc::clone(&self.session)),
            enable_v2_manifest_paths: true,
            ..WriteParams::default()
        };
        let url = format!("{}/{name}.lance", self.url);
        let empty = vec![RecordBatch::new_empty(schema)];
        let made = InsertBuilder::new(url.as_str()).with_params(&params).execute(empty).await;
        match made {
            Ok(_) | Err(lance::Error::DatasetAlreadyExists { .. }) => Ok(()),
            Err(error) => {
                // Of two that make it, one may be told of a conflict.
                if self.open(name, None).await.is_ok() {
                    return Ok(());
                }
                Err(StoreError::table("making", &self.path(name))(error.into()))
            }
        }
    }
}

/// A table that is being changed, each time as a new detached version.
pub(crate) struct Detached {
    path: PathBuf,
    dataset: Arc<Dataset>,
}

impl Detached {
    /// Goes on from the version at which `table` is open.
    pub async fn of(table: &LanceTable) -> Result<Self, StoreError> {
        Ok(Self { path: table.path.clone(), dataset: table.dataset().await? })
    }

    fn failed(&self, error: lance::Error) -> StoreError {
        StoreError::table("writing", &self.path)(error.into())
    }

    async fn commit(&mut self, transaction: Transaction) -> Result<(), StoreError> {
        let builder = CommitBuilder::new(Arc::clone(&self.dataset)).with_detached(true);
        let committed = Box::pin(builder.execute(transaction)).await;
        self.dataset = Arc::new(committed.map_err(|error| self.failed(error))?);
        Ok(())
    }

    fn of_this_version(&self, operation: Operation) -> Transaction {
        Transaction::new(self.dataset.version().version, operation, None)
    }

    /// Adds `fragments`, whose files lie in the table's folder already, as [`fragments_of`] gave
    /// them. The columns of their files must be those of this table.
    pub async fn append(&mut self, fragments: &[serde_json::Value]) -> Result<(), StoreError> {
        if fragments.is_empty() {
            return Ok(());
        }
        let known: HashSet<i32> = self.dataset.schema().field_ids().into_iter().collect();
        let mut read: Vec<Fragment> = Vec::new();
        for fragment in fragments {
            let fragment = serde_json::from_value(fragment.clone());
            let torn = |what: &str| StoreError::Torn { path: self.path.clone(), what: what.into() };
            let fragment: Fragment = fragment.map_err(|_| torn("a part describes no rows"))?;
            let mut fields = fragment.files.iter().flat_map(|file| file.fields.iter());
            if !fields.all(|field| known.contains(field)) {
                return Err(torn("a part has other columns than the table"));
            }
            read.push(fragment);
        }
        self.commit(self.of_this_version(Operation::Append { fragments: read })).await
    }

    /// Adds `rows`, written into the bucket now.
    pub async fn add(&mut self, rows: RecordBatch) -> Result<(), StoreError> {
        let params = WriteParams { mode: WriteMode::Append, ..WriteParams::default() };
        let builder = InsertBuilder::new(Arc::clone(&self.dataset)).with_params(&params);
        let written = Box::pin(builder.execute_uncommitted(vec![rows])).await;
        let mut transaction = written.map_err(|error| self.failed(error))?;
        transaction.read_version = self.dataset.version().version;
        self.commit(transaction).await
    }

    /// Deletes the rows that `filter`, SQL, lets through; says how many.
    pub async fn delete(&mut self, filter: &str) -> Result<u64, StoreError> {
        let builder = DeleteBuilder::new(Arc::clone(&self.dataset), filter);
        let deleted = Box::pin(builder.execute_uncommitted()).await;
        let deleted = deleted.map_err(|error| self.failed(error))?;
        if deleted.num_deleted_rows > 0 {
            self.commit(deleted.transaction).await?;
        }
        Ok(deleted.num_deleted_rows)
    }

    /// Its fragments with fewer rows than `rows`.
    pub fn small(&self, rows: usize) -> Vec<Fragment> {
        let is_small = |fragment: &&Fragment| fragment.physical_rows.is_some_and(|n| n < rows);
        self.dataset.fragments().iter().filter(is_small).cloned().collect()
    }

    /// Takes out the fragments that need one of `files`, by their names below the index, without opening
    /// any of them; says how many.
    pub async fn without(&mut self, files: &HashSet<String>) -> Result<usize, StoreError> {
        let folder = self.path.file_name().expect("a table has a name").to_string_lossy();
        let needs = |fragment: &&Fragment| {
            files_of_fragment(fragment, &folder).any(|file| files.contains(&file))
        };
        let gone: Vec<u64> =
            self.dataset.fragments().iter().filter(needs).map(|fragment| fragment.id).collect();
        let count = gone.len();
        if count > 0 {
            let operation = Operation::Delete {
                updated_fragments: Vec::new(),
                deleted_fragment_ids: gone,
                predicate: "files of these fragments are gone or damaged".into(),
            };
            self.commit(self.of_this_version(operation)).await?;
        }
        Ok(count)
    }

    /// Puts `rows` in the place of all that `fragments` have.
    pub async fn replace(
        &mut self,
        fragments: &[Fragment],
        rows: RecordBatch,
    ) -> Result<(), StoreError> {
        let operation = Operation::Delete {
            updated_fragments: Vec::new(),
            deleted_fragment_ids: fragments.iter().map(|fragment| fragment.id).collect(),
            predicate: "rows of these fragments are written anew".into(),
        };
        self.commit(self.of_this_version(operation)).await?;
        self.add(rows).await
    }

    /// Takes out all rows and columns and puts `schema` in their place.
    pub async fn overwrite(&mut self, schema: &SchemaRef) -> Result<(), StoreError> {
        let schema = lance::datatypes::Schema::try_from(&**schema);
        let mut schema = schema.map_err(|error| self.failed(error))?;
        schema.set_field_id(None);
        let operation = Operation::Overwrite {
            fragments: Vec::new(),
            schema,
            config_upsert_values: None,
            initial_bases: None,
        };
        self.commit(self.of_this_version(operation)).await
    }

    /// Its version now.
    pub fn version(&self) -> u64 {
        self.dataset.version().version
    }

    /// Its rows.
    pub async fn rows(&self) -> Result<u64, StoreError> {
        let rows = self.dataset.count_rows(None).await.map_err(|error| self.failed(error))?;
        Ok(rows as u64)
    }

    /// The files that this version needs, by their name below the index.
    pub fn files_in_use(&self) -> std::collections::BTreeSet<String> {
        super::table::files_of(&self.dataset, &self.path)
    }

    /// Makes this version the newest of Lance's own line.
    pub async fn bring_up(&self) -> Result<(), StoreError> {
        let mut dataset = (*self.dataset).clone();
        Box::pin(dataset.restore()).await.map_err(|error| self.failed(error))
    }
}

/// What says which rows the files of `table` hold: each file is called what `named` makes of its
/// name. An error where rows were deleted, since a deletion is a file of its own.
pub(crate) async fn fragments_of(
    table: &LanceTable,
    named: impl Fn(&str) -> String,
) -> Result<Vec<serde_json::Value>, StoreError> {
    let dataset = table.dataset().await?;
    let mut found = Vec::new();
    for fragment in dataset.fragments().iter() {
        let mut fragment = fragment.clone();
        if fragment.deletion_file.is_some() {
            let what = "rows of a part are deleted".into();
            return Err(StoreError::Torn { path: table.path.clone(), what });
        }
        for file in &mut fragment.files {
            file.path = named(&file.path);
        }
        found.push(serde_json::to_value(&fragment).expect("a fragment is plain data"));
    }
    Ok(found)
}
