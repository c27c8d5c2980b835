//! Where the rows of pages are in their table.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use pagesight_core::{DocumentId, PageId};
use tokio::sync::OnceCell;

use crate::StoreError;
use crate::schema::Rows;
use crate::tables::LanceTable;

/// Pages asked for at a time.
const MAX_PAGES: usize = 256;

/// Finds rows of one version of a table by page.
///
/// A filter compares the names of all rows, each time. Where a process asks twice it will ask more:
/// then the names of all rows are read once, and rows are taken from their places.
#[derive(Default)]
pub(crate) struct Addresses {
    asked: AtomicBool,
    places: OnceCell<HashMap<PageId, u64>>,
}

impl Addresses {
    /// `columns` of the rows of those of `ids` that are there, in any order.
    pub async fn rows_of(
        &self,
        table: &LanceTable,
        columns: &[&str],
        ids: &[PageId],
    ) -> Result<Vec<RecordBatch>, StoreError> {
        let mut batches = Vec::new();
        let again = self.asked.swap(true, Ordering::Relaxed);
        for ids in ids.chunks(MAX_PAGES) {
            batches.extend(match again {
                false => table.read_all(columns, Some(these_pages(ids))).await?,
                true => {
                    let places = self.places.get_or_try_init(|| read_places(table)).await?;
                    let rows = ids.iter().filter_map(|id| places.get(id).copied()).collect();
                    table.take(columns, rows).await?
                }
            });
        }
        Ok(batches)
    }
}

async fn read_places(table: &LanceTable) -> Result<HashMap<PageId, u64>, StoreError> {
    let mut places = HashMap::new();
    for batch in table.read_places(&["document", "number"]).await? {
        places.extend(Rows { batch: &batch, path: &table.path }.places_of_pages()?);
    }
    Ok(places)
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
