//! Words made again from the texts of the pages.

use std::collections::{BTreeSet, HashMap};

use pagesight_core::{DocumentId, PageId};

use super::rows::Rows;
use super::{Mending, grouped};
use crate::bucket::words::{self, Rewriting};
use crate::error::StoreError;
use crate::lance::schema::{Rows as Batch, TEXT_COLUMNS};
use crate::lance::table::LanceTable;
use crate::snapshot::names::TEXT;
use crate::text::analysis::ANALYSIS;
use crate::text::reader::TextReader;
use crate::writer::names_of_documents;

/// Pages whose words are indexed in one step.
const PAGES: usize = 1024;

impl Mending<'_> {
    /// Makes the words fit the pages that are `there`, rows of `table`: segments that are damaged go, and
    /// the words of all documents of which others are there than pages are written anew. The list after.
    pub async fn words(&mut self, rows: &Rows, table: &LanceTable) -> Result<String, StoreError> {
        let (shown, snapshot) = (self.objects.shown(), &self.on.snapshot);
        let all = words::segments(&shown, &snapshot.text_meta)?;
        let damaged = self.damaged_in(TEXT);
        let is_old = snapshot.analysis != ANALYSIS;
        let of = |names: &mut dyn Iterator<Item = &String>| -> BTreeSet<String> {
            names.filter_map(|name| words::segment_of(name)).map(String::from).collect()
        };
        let (known, harmed) = (of(&mut self.known.keys()), of(&mut damaged.iter()));
        let is_bad =
            |segment: &&String| is_old || harmed.contains(*segment) || !known.contains(*segment);
        let bad: BTreeSet<String> = all.iter().filter(is_bad).cloned().collect();
        let (mut meta, _) = words::parted(&shown, &snapshot.text_meta, &bad)?;

        let text = TextReader::open(&self.mirror.folder().join(TEXT), &meta)?;
        let there = text.pages()?;
        drop(text);
        let mut seen: BTreeSet<PageId> = BTreeSet::new();
        let mut stale: BTreeSet<DocumentId> = BTreeSet::new();
        for &page in &there {
            if !rows.there.contains_key(&page) || !seen.insert(page) {
                stale.insert(page.document);
            }
        }
        let missing = rows.there.keys().filter(|page| !seen.contains(page));
        stale.extend(missing.map(|page| page.document));
        if stale.is_empty() && bad.is_empty() {
            return Ok(snapshot.text_meta.clone());
        }
        if !stale.is_empty() {
            let has_some = there.iter().any(|page| stale.contains(&page.document));
            // Segments without a word of these documents are not fetched.
            let base = if has_some { meta.clone() } else { words::without_segments(&meta) };
            let written = self.write(&base, &stale, rows, table).await?;
            meta = if has_some { written } else { words::joined(&shown, &meta, [&*written])? };
        }
        for name in &damaged {
            self.say(format!("{name}: its words are indexed again"));
        }
        Ok(meta)
    }

    /// Writes the words of the documents `stale` anew, after those of the list `base`.
    async fn write(
        &mut self,
        base: &str,
        stale: &BTreeSet<DocumentId>,
        rows: &Rows,
        table: &LanceTable,
    ) -> Result<String, StoreError> {
        let folder = self.scratch.join(TEXT);
        let mut rewriting = Rewriting::open(self.objects, &folder, base, &self.known).await?;
        let names: HashMap<DocumentId, Vec<String>> = names_of_documents(&rows.ledger);
        let mut count = 0;
        for (documents, pages) in grouped(stale, rows.there.keys().copied(), PAGES) {
            let ids: Vec<u64> = pages.iter().map(|page| rows.there[page]).collect();
            let mut texts = Vec::with_capacity(pages.len());
            for batch in table.take(&TEXT_COLUMNS, ids).await? {
                texts.extend(Batch { batch: &batch, path: &table.path }.pages()?);
            }
            texts.sort_by_key(|page| page.id);
            count += texts.len();
            rewriting.replace(documents, &texts, &names)?;
        }
        let (meta, put) = rewriting.finish(&self.begin).await?;
        self.known.extend(put);
        self.say(format!("text: the words of {count} pages are indexed again"));
        Ok(meta)
    }
}
