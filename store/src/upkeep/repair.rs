//! Mends an index: copies take the place of damaged files, words are indexed again from the
//! pages, and pages that are lost are marked, so that the next run reads them again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::Path;

use futures::StreamExt;
use pagesight_core::{DocumentId, DocumentRecord, DocumentStatus, PageFailure, PageId, PageRecord};
use pagesight_maxsim::Segments;

use super::verify::expected_pages;
use crate::codes::passages::PassageCodes;
use crate::codes::{damage, segments};
use crate::error::StoreError;
use crate::lance::schema::{
    Rows, TEXT_COLUMNS, documents_batch, new_document_columns, new_page_columns, pages_batch,
    pages_schema, read_ledger,
};
use crate::lance::table::{LanceTable, any_of, connect};
use crate::snapshot::contents::{Passages, Snapshot};
use crate::snapshot::files::difference;
use crate::snapshot::garbage::collect;
use crate::snapshot::lock::WriterLock;
use crate::snapshot::names::{
    CODES, COPIES, POINTER, TEXT, copy_of, has_copy, is_addresses, is_code, is_passages, is_sums,
    pointer_copy,
};
use crate::snapshot::pointer;
use crate::snapshot::publish::{self, copies, replace};
use crate::text::analysis::ANALYSIS;
use crate::text::reader::TextReader;
use crate::text::writer::{PageWords, TextWriter};
use crate::writer::{AsyncWriter, OpenTables};

/// Pages whose words are indexed in one step.
const TEXT_PAGES: usize = 1024;

/// What a repair did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "pages may have to be read again"]
#[non_exhaustive]
pub struct Repaired {
    /// What was mended, a line each; empty when nothing was damaged.
    pub mended: Vec<String>,
    /// Pages that the next run reads again: ledger path and 1-based number.
    pub to_read: Vec<(String, u32)>,
    /// The snapshot that is in force now.
    pub snapshot: u64,
}

/// See [`crate::repair`].
pub(crate) async fn repair(folder: &Path) -> Result<Repaired, StoreError> {
    let mut repaired = Repaired::default();
    let lock = WriterLock::take(folder)?;
    let mut snapshot = match publish::read(folder) {
        Err(error @ StoreError::Pointer { .. }) => restore_pointer(folder, error, &mut repaired)?,
        other => other?,
    };
    // The damaged files stay: they may hold pages that are sound.
    collect(folder, &snapshot)?;
    let damaged = restore_files(folder, &mut snapshot, &mut repaired)?;
    let connection = connect(folder).await?;
    let version = snapshot.documents_version;
    let documents = LanceTable::writable(&connection, folder, "documents", version).await?;
    let pages = LanceTable::writable(&connection, folder, "pages", snapshot.pages_version).await?;
    documents.add_missing_columns(&new_document_columns()).await?;
    pages.add_missing_columns(&new_page_columns()).await?;
    let text_is_whole =
        snapshot.analysis == ANALYSIS && !damaged.iter().any(|name| name.starts_with("text/"));
    let meta = text_is_whole.then_some(snapshot.text_meta.as_str());
    let text = TextWriter::open(&folder.join(TEXT), meta)?;
    let ledger = read_ledger(&documents).await?.into_iter().collect();
    let open = OpenTables { documents, pages, text };
    let mut writer = AsyncWriter::over(folder, snapshot, open, ledger, lock);
    let coded = writer.codes_to_mend(&damaged);
    let (kept, with_vectors) = writer.mend_pages(&damaged, coded.as_ref(), &mut repaired).await?;
    let text_fits = text_is_whole && {
        let text = TextReader::open(&folder.join(TEXT), &writer.snapshot.text_meta)?;
        text.pages()?.into_iter().collect::<BTreeSet<_>>() == kept
    };
    if !text_fits {
        writer.rebuild_text().await?;
        repaired.mended.push(format!("text: the words of {} pages are indexed again", kept.len()));
    }
    if writer.snapshot.compact.is_some() {
        writer.mend_residuals(coded.is_some(), &kept, &mut repaired)?;
    } else if !writer.codes_fit(&damaged, &with_vectors) {
        writer.snapshot.codes = Some(writer.derive_codes().await?);
        damage::unmark(folder);
        repaired.mended.push(format!("{}: derived again from the vectors", CODES));
    }
    if let Some(passages) = &writer.snapshot.passages
        && !passages_fit(folder, passages, &damaged, &kept)
    {
        writer.snapshot.passages = Some(Passages::of(passages.embedder.clone()));
        damage::unmark_passages(folder);
        repaired.mended.push(format!("{CODES}: the next run encodes the passages of all pages"));
    }
    for name in damaged.iter().filter(|name| is_addresses(name) || is_sums(name)) {
        // Without addresses, rows are found in the table; the checksums of words are written anew.
        let _ = fs::remove_file(folder.join(name));
        writer.snapshot.addresses.take_if(|_| is_addresses(name));
        repaired.mended.push(format!("{name}: it is made again"));
    }
    if !repaired.mended.is_empty() {
        writer.publish().await?;
    }
    repaired.snapshot = writer.snapshot.number;
    Ok(repaired)
}

/// Whether the passages are whole, and of no other pages than those that are `kept`.
fn passages_fit(
    folder: &Path,
    passages: &Passages,
    damaged: &[String],
    kept: &BTreeSet<PageId>,
) -> bool {
    !damaged.iter().any(|name| is_passages(name))
        && !damage::are_passages_marked(folder)
        && PassageCodes::open(folder, passages)
            .is_ok_and(|codes| codes.pages().all(|page| kept.contains(&page)))
}

/// Puts the newest sound copy of the pointer in its place.
fn restore_pointer(
    folder: &Path,
    error: StoreError,
    repaired: &mut Repaired,
) -> Result<Snapshot, StoreError> {
    let best = copies(folder).into_iter().rev().find_map(|number| {
        let path = pointer_copy(folder, number);
        let bytes = fs::read(&path).ok()?;
        Some((pointer::parse(&path, &bytes).ok()?, bytes))
    });
    let Some((best, bytes)) = best else { return Err(error) };
    replace(&folder.join(POINTER), &bytes)?;
    repaired.mended.push(format!("{POINTER}: snapshot {} from its copy", best.number));
    Ok(best)
}

/// Puts copies in the place of damaged files. What remains damaged is taken off the snapshot and
/// returned: pages, words, and what else is derived.
fn restore_files(
    folder: &Path,
    snapshot: &mut Snapshot,
    repaired: &mut Repaired,
) -> Result<Vec<String>, StoreError> {
    let mut damaged = Vec::new();
    for (name, mark) in snapshot.files.clone() {
        let copy = copy_of(folder, &mark);
        let copy_name = format!("{COPIES}/{}", mark.blake3);
        let copied = has_copy(&name) && difference(folder, &copy_name, &mark, true)?.is_none();
        let Some(what) = difference(folder, &name, &mark, true)? else {
            if has_copy(&name) && !copied {
                let _ = fs::remove_file(&copy);
                repaired.mended.push(format!("{copy_name}: copied again"));
            }
            continue;
        };
        if !has_copy(&name) {
            snapshot.files.remove(&name);
            damaged.push(name);
        } else if copied {
            let path = folder.join(&name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(StoreError::io("making", parent))?;
            }
            replace(&path, &fs::read(&copy).map_err(StoreError::io("reading", &copy))?)?;
            repaired.mended.push(format!("{name}: from its copy"));
        } else {
            let what = format!("{what}, and its copy {copy_name} is damaged too");
            return Err(StoreError::Torn { path: folder.join(&name), what });
        }
    }
    Ok(damaged)
}

/// Those records of `ledger` whose documents have `lost` pages, as they say so: the next run reads these
/// pages again.
pub(crate) fn mark_lost<'a, 'b>(
    ledger: impl Iterator<Item = &'a DocumentRecord>,
    lost: impl Iterator<Item = &'b PageId>,
    repaired: &mut Repaired,
) -> Vec<DocumentRecord> {
    let mut by_document: HashMap<_, Vec<u32>> = HashMap::new();
    for page in lost {
        by_document.entry(page.document).or_default().push(page.number);
    }
    let mut marked = Vec::new();
    for record in ledger {
        let numbers = record.document.and_then(|document| by_document.get(&document));
        let Some(numbers) = numbers else { continue };
        let mut record = record.clone();
        record.status = DocumentStatus::InProgress;
        record.pages_indexed = record.pages_indexed.saturating_sub(numbers.len() as u32);
        record.failed_pages.extend(numbers.iter().map(|&page| PageFailure::lost(page)));
        record.failed_pages.sort_by_key(|failure| failure.page);
        record.waiting_pages.retain(|page| !numbers.contains(page));
        repaired.to_read.extend(numbers.iter().map(|&page| (record.path.clone(), page)));
        marked.push(record);
    }
    if !marked.is_empty() {
        let (pages, files) = (repaired.to_read.len(), marked.len());
        let what = format!("{pages} pages of {files} files are marked to be read again");
        repaired.mended.push(format!("documents.lance: {what}"));
    }
    marked
}

impl AsyncWriter {
    /// Drops pages that are damaged or that the ledger does not have, and marks those that it has
    /// and the table has not; where only some are still `coded`, those that are not, too. Returns
    /// the pages that are there afterwards, and those of them that have vectors.
    async fn mend_pages(
        &mut self,
        damaged: &[String],
        coded: Option<&BTreeSet<PageId>>,
        repaired: &mut Repaired,
    ) -> Result<(BTreeSet<PageId>, BTreeSet<PageId>), StoreError> {
        let pages = self.open.as_ref().expect("open for repair").pages.clone();
        let records: Vec<_> = self.ledger.records().cloned().collect();
        let expected = expected_pages(&records);
        let wanted = |page: &PageId| {
            expected.contains(page) && coded.is_none_or(|coded| coded.contains(page))
        };
        let (mut sound, mut with_vectors, mut bad_rows) = (BTreeSet::new(), BTreeSet::new(), 0);
        let mut salvage = pages.salvage(&HashSet::new()).await?;
        while let Some(batch) = salvage.recv().await {
            let Ok(batch) = batch else { continue };
            for page in (Rows { batch: &batch, path: &pages.path }).every_page() {
                match page {
                    Ok(page) if wanted(&page.id) && sound.insert(page.id) => {
                        with_vectors.extend(page.vectors.map(|_| page.id));
                    }
                    _ => bad_rows += 1,
                }
            }
        }
        let file_damaged = damaged.iter().any(|name| name.starts_with("pages.lance/"));
        if bad_rows > 0 || file_damaged {
            self.rewrite_pages(&pages, sound.clone()).await?;
            repaired.mended.push(format!("pages.lance: written again with {} pages", sound.len()));
        }
        self.mark_lost(expected.difference(&sound), repaired).await?;
        Ok((sound, with_vectors))
    }

    /// Writes the table again with the pages `keep`, each once.
    async fn rewrite_pages(
        &mut self,
        pages: &LanceTable,
        keep: BTreeSet<PageId>,
    ) -> Result<(), StoreError> {
        let salvage = pages.salvage(&HashSet::new()).await?;
        let (dim, path, mut keep) = (self.snapshot.dim, pages.path.clone(), keep);
        let batches = futures::stream::unfold(salvage, |mut salvage| async move {
            Some((salvage.recv().await?, salvage))
        });
        let kept = batches.filter_map(move |batch| {
            let kept = batch.ok().map(|batch| {
                let every = (Rows { batch: &batch, path: &path }).every_page();
                let kept = every.into_iter().flatten().filter(|page| keep.remove(&page.id));
                pages_batch(dim, &kept.collect::<Vec<_>>())
            });
            std::future::ready(kept)
        });
        // A table needs a batch, be it empty.
        let first = futures::stream::iter([pages_batch(dim, &[])]);
        pages.overwrite(pages_schema(dim), first.chain(kept)).await
    }

    /// Says in the ledger which pages are lost: the next run reads them again.
    async fn mark_lost<'a>(
        &mut self,
        lost: impl Iterator<Item = &'a PageId>,
        repaired: &mut Repaired,
    ) -> Result<(), StoreError> {
        let marked = mark_lost(self.ledger.records(), lost, repaired);
        for record in &marked {
            self.ledger.insert(record.clone());
        }
        if !marked.is_empty() {
            let documents = &self.open.as_ref().expect("open for repair").documents;
            for filter in any_of("path", marked.iter().map(|record| &record.path)) {
                documents.delete(&filter).await?;
            }
            documents.add(documents_batch(&marked)).await?;
        }
        Ok(())
    }

    /// Of a compact index whose codes are damaged, the pages that are left of them.
    fn codes_to_mend(&self, damaged: &[String]) -> Option<BTreeSet<PageId>> {
        self.snapshot.compact.as_ref()?;
        let names = self.snapshot.codes.as_deref().unwrap_or_default();
        let whole = !damaged.iter().any(|name| is_code(name) && !is_passages(name))
            && !damage::is_marked(&self.folder)
            && segments::open(&self.folder, names).is_ok();
        (!whole).then(|| damage::salvage(&self.folder, names))
    }

    /// Writes residual codes again with those of the pages `kept`, when they are damaged or have
    /// others.
    fn mend_residuals(
        &mut self,
        damaged: bool,
        kept: &BTreeSet<PageId>,
        repaired: &mut Repaired,
    ) -> Result<(), StoreError> {
        let names = self.snapshot.codes.clone().unwrap_or_default();
        let others = |segments: Segments| !segments.ids().all(|id| kept.contains(&id));
        if !damaged && !segments::open(&self.folder, &names).map(others)? {
            return Ok(());
        }
        let mended = damage::keep(&self.folder, self.snapshot.number + 1, &names, kept)?;
        if mended.is_none() {
            // Nothing says any more how pages were coded: what is read again is kept whole.
            self.snapshot.compact = None;
        }
        self.snapshot.codes = Some(mended.into_iter().collect());
        damage::unmark(&self.folder);
        repaired.mended.push(format!("{}: written again with what is left", CODES));
        Ok(())
    }

    /// Whether the codes are whole, and of the pages that have vectors. When nothing is coded yet,
    /// the next run does it.
    fn codes_fit(&self, damaged: &[String], with_vectors: &BTreeSet<PageId>) -> bool {
        let Some(names) = segments::readable(&self.snapshot) else { return true };
        if damage::is_marked(&self.folder) {
            return false;
        }
        let coded = |segments: Segments| segments.ids().collect::<BTreeSet<_>>() == *with_vectors;
        !damaged.iter().any(|name| is_code(name) && !is_passages(name))
            && segments::open(&self.folder, names).is_ok_and(coded)
    }

    /// Indexes the words of all pages anew.
    pub(crate) async fn rebuild_text(&mut self) -> Result<(), StoreError> {
        let named = |&document: &DocumentId| Some((document, self.ledger.names(document)?));
        let names: HashMap<DocumentId, Vec<String>> =
            self.ledger.documents().filter_map(|document| named(&document)).collect();
        let open = self.open.as_mut().expect("open for writing");
        let mut text = TextWriter::open(&self.folder.join(TEXT), None)?;
        let mut add = |pages: &mut Vec<PageRecord>| {
            let words = pages.iter().map(|page| PageWords {
                id: page.id,
                text: &page.text,
                names: names.get(&page.id.document).map_or(&[], Vec::as_slice),
            });
            let added = text.commit([], words);
            pages.clear();
            added
        };
        let mut stream = open.pages.read(&TEXT_COLUMNS, None).await?;
        let mut waiting = Vec::new();
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            waiting.extend(Rows { batch: &batch, path: &open.pages.path }.pages()?);
            if waiting.len() >= TEXT_PAGES {
                add(&mut waiting)?;
            }
        }
        add(&mut waiting)?;
        open.text = text;
        self.snapshot.analysis = ANALYSIS;
        Ok(())
    }
}
