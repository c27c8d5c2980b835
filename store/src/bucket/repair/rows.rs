//! The ledger and the table of pages without the files that are gone or damaged.
//!
//! Nothing has their rows a second time. Pages are marked as lost in the ledger, and records of the ledger
//! are forgotten with the pages of their documents: either way the next plan reads the documents again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use pagesight_core::{DocumentId, DocumentRecord, PageId};

use super::Mending;
use crate::error::StoreError;
use crate::lance::detached::Detached;
use crate::lance::schema::{Rows as Batch, documents_batch, read_ledger};
use crate::lance::table::{LanceTable, any_of};
use crate::upkeep::repair::mark_lost;
use crate::upkeep::verify::expected_pages;

/// The tables as they are left.
pub(super) struct Rows {
    pub documents: Detached,
    pub pages: Detached,
    pub ledger: BTreeMap<String, DocumentRecord>,
    /// The pages, and the row ids that they are taken by.
    pub there: BTreeMap<PageId, u64>,
    /// Those that have vectors.
    pub with_vectors: BTreeSet<PageId>,
}

/// What can be read of the table of pages.
#[derive(Default)]
struct Salvaged {
    sound: BTreeSet<PageId>,
    with_vectors: BTreeSet<PageId>,
    /// Rows that are damaged, there twice, or of pages that the ledger does not have.
    bad: BTreeSet<PageId>,
    /// Files that make no sense, although they are as they were written.
    unreadable: HashSet<String>,
}

impl Mending<'_> {
    /// Takes out of the tables what is gone or damaged, and says so in the ledger.
    pub async fn rows(&mut self) -> Result<Rows, StoreError> {
        let snapshot = &self.on.snapshot;
        let tables = self.objects.tables();
        let table = tables.open("documents", Some(snapshot.documents_version)).await?;
        let mut documents = Detached::of(&table).await?;
        documents.without(&self.damaged).await?;
        let table = tables.open("documents", Some(documents.version())).await?;
        let records = read_ledger(&table).await?;
        let mut ledger: BTreeMap<String, DocumentRecord> =
            records.into_iter().map(|record| (record.path.clone(), record)).collect();
        let (before, now) = (self.on.snapshot.documents, ledger.len() as u64);
        if before != now {
            let what = format!("{now} documents of {before}: the next plan reads the others again");
            self.say(format!("documents.lance: {what}"));
        }

        let table = tables.open("pages", Some(self.on.snapshot.pages_version)).await?;
        let mut pages = Detached::of(&table).await?;
        pages.without(&self.damaged).await?;
        let records: Vec<DocumentRecord> = ledger.values().cloned().collect();
        let expected = expected_pages(&records);
        let mut salvaged = loop {
            let table = tables.open("pages", Some(pages.version())).await?;
            let salvaged = salvage(&table, &expected).await?;
            if salvaged.unreadable.is_empty() {
                break salvaged;
            }
            for name in salvaged.unreadable.iter() {
                self.say(format!("{name}: it makes no sense, and is left out"));
            }
            if pages.without(&salvaged.unreadable).await? == 0 {
                return Err(StoreError::senseless(&table.path));
            }
        };
        if !salvaged.bad.is_empty() {
            salvaged.sound.retain(|page| !salvaged.bad.contains(page));
            salvaged.with_vectors.retain(|page| !salvaged.bad.contains(page));
            let mut taken_out = 0;
            for filter in filters(&salvaged.bad, &salvaged.sound) {
                taken_out += pages.delete(&filter).await?;
            }
            self.say(format!("pages.lance: {taken_out} rows are taken out"));
        }
        for name in
            self.damaged_in("documents.lance").into_iter().chain(self.damaged_in("pages.lance"))
        {
            self.say(format!("{name}: its rows are lost"));
        }

        let lost = expected.difference(&salvaged.sound);
        let marked = mark_lost(ledger.values(), lost, &mut self.repaired);
        if !marked.is_empty() {
            for filter in any_of("path", marked.iter().map(|record| &record.path)) {
                documents.delete(&filter).await?;
            }
            documents.add(documents_batch(&marked)).await?;
            ledger.extend(marked.into_iter().map(|record| (record.path.clone(), record)));
        }
        let table = tables.open("pages", Some(pages.version())).await?;
        let there = row_ids(&table).await?;
        Ok(Rows { documents, pages, ledger, there, with_vectors: salvaged.with_vectors })
    }
}

/// Reads all of `table`, of which the ledger has the pages `expected`.
async fn salvage(table: &LanceTable, expected: &BTreeSet<PageId>) -> Result<Salvaged, StoreError> {
    let mut found = Salvaged::default();
    let mut salvage = table.salvage(&HashSet::new()).await?;
    while let Some(batch) = salvage.recv().await {
        let batch = match batch {
            Ok(batch) => batch,
            Err((file, _)) => {
                found.unreadable.insert(format!("pages.lance/{file}"));
                continue;
            }
        };
        for page in (Batch { batch: &batch, path: &table.path }).every_page() {
            match page {
                Ok(page) if expected.contains(&page.id) && found.sound.insert(page.id) => {
                    found.with_vectors.extend(page.vectors.map(|_| page.id));
                }
                Ok(page) => _ = found.bad.insert(page.id),
                Err(StoreError::DamagedPage { page, .. }) => _ = found.bad.insert(page),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

/// What finds the rows of the pages `bad`, of whose documents the pages `sound` stay.
fn filters(bad: &BTreeSet<PageId>, sound: &BTreeSet<PageId>) -> Vec<String> {
    let staying: HashSet<DocumentId> = sound.iter().map(|page| page.document).collect();
    let mut whole: BTreeSet<String> = BTreeSet::new();
    let mut single: HashMap<DocumentId, Vec<String>> = HashMap::new();
    for page in bad {
        if staying.contains(&page.document) {
            single.entry(page.document).or_default().push(page.number.to_string());
        } else {
            whole.insert(page.document.to_string());
        }
    }
    let mut filters = any_of("document", whole);
    for (document, numbers) in single {
        filters.push(format!("document = '{document}' AND number IN ({})", numbers.join(", ")));
    }
    filters
}

/// The row id of every page of `table`.
async fn row_ids(table: &LanceTable) -> Result<BTreeMap<PageId, u64>, StoreError> {
    let mut found = BTreeMap::new();
    for batch in table.read_row_ids(&["document", "number"], None).await? {
        found.extend(Batch { batch: &batch, path: &table.path }.row_ids()?);
    }
    Ok(found)
}
