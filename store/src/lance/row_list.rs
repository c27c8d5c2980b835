//! Which pages the rows of a table are, written down beside it.
//!
//! A row is taken by its id: the fragment that it is in, and where in it. Who wants to know that from the
//! table reads the columns `document` and `number` of every fragment, which in a bucket takes half a dozen
//! requests each. A list says the same of many fragments in one object: for each fragment, known by the
//! name of its first file, the pages of its rows in order, those of a document that follow each other as
//! one [`Run`].
//!
//! A list is derived: rows that no list names are read from the table, and so are those of a fragment whose
//! list has another count than the table.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;

use futures::{StreamExt, TryStreamExt};
use lance::table::format::Fragment;
use pagesight_core::{DocumentId, PageId};
use serde::{Deserialize, Serialize};

use super::schema::Rows;
use super::table::LanceTable;
use crate::error::StoreError;

/// Fragments whose deleted rows are asked for at once.
const ASKED: usize = 16;

/// Rows whose pages are those of `document` from `first` on, one after another: `count` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run(DocumentId, u32, u32);

/// The pages of the rows of fragments, each by the name of its first file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct RowList(BTreeMap<String, Vec<Run>>);

impl RowList {
    /// That of all rows of `table`, none of which is deleted. Each fragment is known by what `named` makes
    /// of the name of its first file.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn of(
        table: &LanceTable,
        named: impl Fn(&str) -> String,
    ) -> Result<Self, StoreError> {
        let mut pages: Vec<(u64, PageId)> = Vec::new();
        for batch in table.read_row_ids(&["document", "number"], None).await? {
            let rows = Rows { batch: &batch, path: &table.path }.row_ids()?;
            pages.extend(rows.into_iter().map(|(page, row)| (row, page)));
        }
        pages.sort_unstable();
        let mut list = Self::default();
        for fragment in table.dataset().await?.fragments().iter() {
            let Some(file) = fragment.files.first() else { continue };
            let of_fragment =
                pages.iter().filter(|(row, _)| row >> 32 == fragment.id).map(|(_, page)| *page);
            list.0.insert(named(&file.path), runs(of_fragment));
        }
        Ok(list)
    }

    /// That of those fragments of `table` that this one does not name. One with deleted rows is left out,
    /// since the table says no more which pages these were.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn rest_of(&self, table: &LanceTable) -> Result<Self, StoreError> {
        let dataset = table.dataset().await?;
        let is_missing = |fragment: &&Fragment| {
            fragment.deletion_file.is_none() && self.rows_of(fragment).is_none()
        };
        let missing: Vec<Fragment> =
            dataset.fragments().iter().filter(is_missing).cloned().collect();
        let mut rest = Self::default();
        for fragment in missing {
            let mut pages: Vec<(u64, PageId)> = Vec::new();
            for batch in
                table.read_row_ids_of(&["document", "number"], vec![fragment.clone()]).await?
            {
                let rows = Rows { batch: &batch, path: &table.path }.row_ids()?;
                pages.extend(rows.into_iter().map(|(page, row)| (row, page)));
            }
            pages.sort_unstable();
            if let Some(file) = fragment.files.first() {
                let of_fragment = pages.into_iter().map(|(_, page)| page);
                rest.0.insert(file.path.clone(), runs(of_fragment));
            }
        }
        Ok(rest)
    }

    /// Adds the fragments of `other`.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Leaves out the fragments whose first file `is_needed` does not let through.
    pub fn retain(&mut self, is_needed: impl Fn(&str) -> bool) {
        self.0.retain(|file, _| is_needed(file));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a list is plain data")
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` for what is no list.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The rows of a fragment with so many; `None` where the list does not name it, or has another count.
    fn rows_of(&self, fragment: &Fragment) -> Option<&[Run]> {
        let runs = self.0.get(&fragment.files.first()?.path)?;
        let count: u64 = runs.iter().map(|run| u64::from(run.2)).sum();
        (fragment.physical_rows == usize::try_from(count).ok()).then_some(&**runs)
    }
}

fn runs(pages: impl Iterator<Item = PageId>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for PageId { document, number } in pages {
        match runs.last_mut() {
            Some(Run(last, first, count))
                if *last == document && first.wrapping_add(*count) == number =>
            {
                *count += 1;
            }
            _ => runs.push(Run(document, number, 1)),
        }
    }
    runs
}

/// The row id of every page of `table`, by the `lists`, files, as far as they can be read, and by the table
/// itself for all other rows.
///
/// # Errors
/// When the table cannot be read.
pub(crate) async fn row_ids(
    table: &LanceTable,
    lists: &[PathBuf],
) -> Result<HashMap<PageId, u64>, StoreError> {
    let mut list = RowList::default();
    for path in lists {
        list.extend(fs::read(path).ok().and_then(|b| RowList::parse(&b)).unwrap_or_default());
    }
    let dataset = table.dataset().await?;
    let reading = |error: lance::Error| StoreError::table("reading", &table.path)(error.into());
    let (mut found, mut unlisted, mut holed) = (HashMap::new(), Vec::new(), Vec::new());
    for fragment in dataset.fragments().iter() {
        let Some(runs) = list.rows_of(fragment) else {
            unlisted.push(fragment.clone());
            continue;
        };
        if fragment.deletion_file.is_some() {
            holed.push((fragment.id, runs));
            continue;
        }
        found.extend(ids_of(fragment.id, runs));
    }
    let mut asking = Vec::with_capacity(holed.len());
    for (id, runs) in holed {
        let dataset = &dataset;
        asking.push(async move {
            let fragment = dataset.get_fragment(id as usize).expect("it was just listed");
            Ok::<_, lance::Error>((id, runs, fragment.get_deletion_vector().await?))
        });
    }
    let asked = futures::stream::iter(asking).buffer_unordered(ASKED);
    for (id, runs, deleted) in asked.try_collect::<Vec<_>>().await.map_err(reading)? {
        let lives = |row: u64| deleted.as_ref().is_none_or(|gone| !gone.contains(row as u32));
        found.extend(ids_of(id, runs).filter(|(_, row)| lives(*row)));
    }
    if unlisted.is_empty() {
        return Ok(found);
    }
    for batch in table.read_row_ids_of(&["document", "number"], unlisted).await? {
        found.extend(Rows { batch: &batch, path: &table.path }.row_ids()?);
    }
    Ok(found)
}

/// The pages of fragment `id` with their row ids.
fn ids_of(id: u64, runs: &[Run]) -> impl Iterator<Item = (PageId, u64)> {
    let pages = runs.iter().flat_map(|&Run(document, first, count)| {
        (0..count).map(move |n| PageId { document, number: first.wrapping_add(n) })
    });
    pages.zip(id << 32..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(document: u8, number: u32) -> PageId {
        PageId { document: DocumentId([document; 32]), number }
    }

    #[test]
    fn pages_that_follow_each_other_are_one_run() {
        let pages = [page(1, 1), page(1, 2), page(2, 1), page(1, 3), page(1, 5)];
        let runs = runs(pages.into_iter());
        let counts: Vec<u32> = runs.iter().map(|run| run.2).collect();
        assert_eq!(counts, [2, 1, 1, 1]);
        let ids: Vec<(PageId, u64)> = ids_of(3, &runs).collect();
        let expected = pages.into_iter().zip((3 << 32)..).collect::<Vec<_>>();
        assert_eq!(ids, expected);
    }

    #[test]
    fn a_list_is_read_as_it_was_written_and_nothing_else_is_one() {
        let runs = runs([page(1, 1), page(1, 2), page(2, 1)].into_iter());
        let list = RowList(BTreeMap::from([("a.lance".to_string(), runs)]));
        let bytes = list.to_bytes();
        assert_eq!(RowList::parse(&bytes), Some(list.clone()));
        for end in 1..bytes.len() {
            assert_eq!(RowList::parse(&bytes[..end]), None);
        }
        let mut more = list.clone();
        more.extend(RowList(BTreeMap::from([("b.lance".to_string(), Vec::new())])));
        more.retain(|file| file == "a.lance");
        assert_eq!(more, list);
    }
}
