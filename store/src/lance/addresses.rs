//! Where the rows of pages lie in their table.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use pagesight_core::{DocumentId, PageId};
use tokio::sync::OnceCell;

use crate::error::StoreError;
use crate::lance::row_list;
use crate::lance::schema::Rows;
use crate::lance::table::LanceTable;

/// Pages asked for at a time.
const MAX_PAGES: usize = 256;

/// Finds rows of one version of a table by page.
///
/// A filter compares the page of every row each time, in columns that are short. A process that asks
/// twice will ask more often: the second time, the pages of all rows are read once; where lists of them lie
/// beside the table, the first time. Rows are taken by their ids.
#[derive(Default)]
pub(crate) struct Addresses {
    asked: AtomicBool,
    /// Files that say which pages the rows are.
    lists: Vec<PathBuf>,
    row_ids: OnceCell<HashMap<PageId, u64>>,
}

impl Addresses {
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
            let rows = if again {
                let all = self.row_ids.get_or_try_init(|| self.read_all(table)).await?;
                ids.iter().filter_map(|id| all.get(id).copied()).collect()
            } else {
                read_row_ids(table, Some(these_pages(ids))).await?.into_values().collect()
            };
            batches.extend(table.take(columns, rows).await?);
        }
        Ok(batches)
    }

    /// The row ids of those of `ids` that are there, where it is known by now where all pages lie, or is
    /// written down beside the table; `None` where the table would have to be read for it.
    pub async fn known(&self, table: &LanceTable, ids: &[PageId]) -> Option<Vec<(PageId, u64)>> {
        if self.lists.is_empty() && !self.row_ids.initialized() {
            return None;
        }
        let all = self.row_ids.get_or_try_init(|| self.read_all(table)).await.ok()?;
        Some(ids.iter().filter_map(|id| Some((*id, *all.get(id)?))).collect())
    }

    async fn read_all(&self, table: &LanceTable) -> Result<HashMap<PageId, u64>, StoreError> {
        match &*self.lists {
            [] => read_row_ids(table, None).await,
            lists => row_list::row_ids(table, lists).await,
        }
    }
}

async fn read_row_ids(
    table: &LanceTable,
    filter: Option<String>,
) -> Result<HashMap<PageId, u64>, StoreError> {
    let mut row_ids = HashMap::new();
    for batch in table.read_row_ids(&["document", "number"], filter).await? {
        row_ids.extend(Rows { batch: &batch, path: &table.path }.row_ids()?);
    }
    Ok(row_ids)
}

/// SQL that lets `ids` through.
fn these_pages(ids: &[PageId]) -> String {
    let mut numbers: HashMap<DocumentId, Vec<String>> = HashMap::new();
    for id in ids {
        numbers.entry(id.document).or_default().push(id.number.to_string());
    }
    let one = |(document, numbers): (DocumentId, Vec<String>)| {
        format!("(document = '{document}' AND number IN ({}))", numbers.join(", "))
    };
    numbers.into_iter().map(one).collect::<Vec<_>>().join(" OR ")
}
