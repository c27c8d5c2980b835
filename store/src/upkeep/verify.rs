//! Checks everything that an index says of itself, and names what does not hold.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use pagesight_core::{DocumentId, DocumentRecord, PageId, chain};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use crate::bucket::lease::BucketLease;
use crate::bucket::mirror::Mirror;
use crate::bucket::objects::Objects;
use crate::codes::passages::PassageCodes;
use crate::codes::segments;
use crate::error::StoreError;
use crate::lance::detached::TablePlace;
use crate::lance::schema::{Rows, read_ledger};
use crate::lance::table::{LanceTable, connect};
use crate::snapshot::contents::{FileMark, Snapshot};
use crate::snapshot::files::difference;
use crate::snapshot::garbage::leftovers;
use crate::snapshot::lease::Lease;
use crate::snapshot::names::{CODES, POINTER, TEXT, copy_of, has_copy, name_below, pointer_copy};
use crate::snapshot::pointer::{self, HASHED};
use crate::text::reader::TextReader;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Damage {
    /// The file or table, by its path below the index folder.
    pub file: String,
    /// The page that it is about, where it is about one.
    pub page: Option<PageId>,
    /// A ledger path of that page.
    pub path: Option<String>,
    /// What does not fit, one line.
    pub what: String,
}

/// What a verification looked at and found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "damage is in the result, it is no error"]
#[non_exhaustive]
pub struct Verified {
    /// The snapshot; `None` when the pointer cannot be read.
    pub snapshot: Option<u64>,
    /// Files compared with their hash.
    pub files: u64,
    /// Their sizes, bytes.
    pub bytes: u64,
    /// Rows of the ledger.
    pub documents: u64,
    /// Pages that are sound.
    pub pages: u64,
    /// Files that no snapshot needs; the next writer removes them.
    pub leftovers: u64,
    /// What is not as it was written.
    pub damage: Vec<Damage>,
}

/// See [`crate::verify`].
pub(crate) async fn verify(folder: &Path) -> Result<Verified, StoreError> {
    let mut verified = Verified::default();
    let (snapshot, _lease) = match Lease::take(folder) {
        Ok(taken) => taken,
        Err(StoreError::Pointer { what, .. }) => {
            verified.add(POINTER, None, what);
            return Ok(verified);
        }
        Err(error) => return Err(error),
    };
    verified.snapshot = Some(snapshot.number);
    verified.check_files(folder, &snapshot)?;
    let table = |name, version| of_folder(folder.to_path_buf(), name, version);
    let documents = table("documents", snapshot.documents_version);
    let pages = table("pages", snapshot.pages_version);
    verified.check_content(folder, &snapshot, documents, pages).await;
    Ok(verified)
}

async fn of_folder(
    folder: PathBuf,
    name: &'static str,
    version: u64,
) -> Result<LanceTable, StoreError> {
    let connection = connect(&folder).await?;
    LanceTable::at(&connection, &folder, name, version).await
}

async fn of_bucket(
    place: TablePlace,
    name: &'static str,
    version: u64,
) -> Result<LanceTable, StoreError> {
    place.open(name, Some(version)).await
}

/// See [`crate::verify_bucket`].
pub(crate) async fn verify_bucket(
    objects: Objects,
    mirror: Mirror,
) -> Result<Verified, StoreError> {
    let mut verified = Verified::default();
    let (entry, _lease) = match BucketLease::take(&objects).await {
        Err(StoreError::Pointer { path, what }) => {
            verified.add(&path.to_string_lossy(), None, what);
            return Ok(verified);
        }
        taken => taken?,
    };
    let mut snapshot = entry.snapshot.clone();
    verified.snapshot = Some(snapshot.number);
    snapshot.files = match entry.files(&objects).await {
        Err(StoreError::DamagedFile { path, what }) => {
            verified.add(&path.to_string_lossy(), None, what);
            return Ok(verified);
        }
        files => files?,
    };
    verified.files = snapshot.files.len() as u64;
    verified.bytes = snapshot.bytes();
    for (name, mark) in &snapshot.files {
        if let Some(what) = objects.difference(name, mark).await? {
            verified.add(name, None, what);
        }
    }
    // What is damaged in the bucket is not brought here, and named already.
    let sound: BTreeMap<String, FileMark> = snapshot
        .files
        .iter()
        .filter(|(name, _)| !verified.damage.iter().any(|damage| damage.file == **name))
        .map(|(name, mark)| (name.clone(), mark.clone()))
        .collect();
    mirror.bring_whole(&sound).await?;
    let table = |name, version| of_bucket(objects.tables(), name, version);
    let documents = table("documents", snapshot.documents_version);
    let pages = table("pages", snapshot.pages_version);
    let folder = mirror.folder().to_path_buf();
    verified.check_content(&folder, &snapshot, documents, pages).await;
    Ok(verified)
}

/// Returns the intact pages, and which of them have vectors. Files in `skip` are not opened: they
/// are damaged, and Lance may panic on them.
async fn sound_pages(
    table: Result<LanceTable, StoreError>,
    skip: &HashSet<String>,
    verified: &mut Verified,
) -> Result<(Vec<PageId>, BTreeSet<PageId>), StoreError> {
    let table = table?;
    let mut salvage = table.salvage(skip).await?;
    let (mut sound, mut with_vectors) = (Vec::new(), BTreeSet::new());
    while let Some(batch) = salvage.recv().await {
        match batch {
            Ok(batch) => {
                for page in (Rows { batch: &batch, path: &table.path }).every_page() {
                    match page {
                        Ok(page) => {
                            sound.push(page.id);
                            with_vectors.extend(page.vectors.map(|_| page.id));
                        }
                        Err(StoreError::DamagedPage { page, what, .. }) => {
                            verified.add("pages.lance", Some(page), what);
                        }
                        Err(error) => verified.add("pages.lance", None, error.to_string()),
                    }
                }
            }
            Err((file, what)) => verified.add(&format!("pages.lance/{file}"), None, what),
        }
    }
    verified.pages = sound.len() as u64;
    Ok((sound, with_vectors))
}

/// The error and its causes; some of Lance's go on for many lines.
fn one_line(error: &StoreError) -> String {
    chain(error).lines().next().unwrap_or_default().to_string()
}

impl Verified {
    fn add(&mut self, file: &str, page: Option<PageId>, what: impl Into<String>) {
        self.damage.push(Damage { file: file.into(), page, path: None, what: what.into() });
    }

    /// The ledger, the pages, their codes and their words against each other; words and codes lie in
    /// `folder`.
    async fn check_content(
        &mut self,
        folder: &Path,
        snapshot: &Snapshot,
        documents: impl Future<Output = Result<LanceTable, StoreError>> + Send + 'static,
        pages: impl Future<Output = Result<LanceTable, StoreError>>,
    ) {
        let mut parts = Parts::default();
        let damaged: Vec<String> = self.damage.iter().map(|damage| damage.file.clone()).collect();
        let is_whole = |part: &str| !damaged.iter().any(|file| file.starts_with(part));
        if is_whole("documents.lance/") {
            let read = tokio::spawn(async move { read_ledger(&documents.await?).await });
            match read.await {
                Ok(Ok(records)) => parts.ledger = Some(records),
                Ok(Err(error)) => self.add("documents.lance", None, one_line(&error)),
                Err(_) => self.add("documents.lance", None, "its content makes no sense"),
            }
        }
        if is_whole("pages.lance/_") {
            let skip = damaged.iter().cloned().collect();
            match sound_pages(pages.await, &skip, self).await {
                Ok((pages, with_vectors)) => {
                    (parts.pages, parts.with_vectors) = (Some(pages), with_vectors);
                }
                Err(error) => self.add("pages.lance", None, one_line(&error)),
            }
        }
        if let Some(names) = segments::readable(snapshot).filter(|_| is_whole("codes/")) {
            match segments::open(folder, names) {
                Ok(codes) => parts.coded = Some(codes.ids().collect()),
                Err(error) => self.add(CODES, None, one_line(&error)),
            }
        }
        if let Some(passages) = snapshot.passages.as_ref().filter(|_| is_whole("codes/")) {
            match PassageCodes::open(folder, passages) {
                Ok(codes) => {
                    let tokens = codes.tokens.ids();
                    parts.passages = Some((codes.pages().collect(), tokens.collect()));
                }
                Err(error) => self.add(CODES, None, one_line(&error)),
            }
        }
        if is_whole("text/") {
            let text = TextReader::open(&folder.join(TEXT), &snapshot.text_meta);
            match text.and_then(|text| text.pages()) {
                Ok(pages) => parts.text = Some(pages),
                Err(error) => self.add("text", None, one_line(&error)),
            }
        }
        parts.compare(snapshot, self);
        for record in parts.ledger.iter().flatten() {
            for damage in self.damage.iter_mut().filter(|damage| damage.path.is_none()) {
                if damage.page.is_some_and(|page| Some(page.document) == record.document) {
                    damage.path = Some(record.path.clone());
                }
            }
        }
        self.damage.sort();
        self.damage.dedup();
    }

    /// Files against their marks, copies against what they are copies of.
    fn check_files(&mut self, folder: &Path, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.files = snapshot.files.len() as u64;
        self.bytes = snapshot.files.values().map(|mark| mark.bytes).sum();
        let mut copies: BTreeMap<String, &FileMark> = BTreeMap::new();
        if snapshot.format >= HASHED {
            for (_, mark) in snapshot.files.iter().filter(|(name, _)| has_copy(name)) {
                copies.insert(name_below(folder, &copy_of(folder, mark)), mark);
            }
            let copy = pointer_copy(folder, snapshot.number);
            let copied = fs::read(&copy).ok().and_then(|b| pointer::parse(&copy, &b).ok());
            if copied.as_ref() != Some(snapshot) {
                let name = name_below(folder, &copy);
                self.add(&name, None, "it is not the copy of snapshot.json");
            }
        }
        let files: Vec<(&String, &FileMark)> =
            snapshot.files.iter().chain(copies.iter().map(|(name, mark)| (name, *mark))).collect();
        let compare = |(name, mark): &(&String, &FileMark)| {
            Ok(difference(folder, name, mark, true)?.map(|what| ((*name).clone(), what)))
        };
        let found: Result<Vec<_>, StoreError> = files.par_iter().map(compare).collect();
        for (name, what) in found?.into_iter().flatten() {
            self.add(&name, None, what);
        }
        self.leftovers = leftovers(folder, &snapshot.files.keys().cloned().collect::<HashSet<_>>())?
            .len() as u64;
        Ok(())
    }
}

/// Which documents and pages each part of an index has; `None` for a part that cannot be read.
#[derive(Debug, Default)]
struct Parts {
    ledger: Option<Vec<DocumentRecord>>,
    pages: Option<Vec<PageId>>,
    /// Those of `pages` that have vectors.
    with_vectors: BTreeSet<PageId>,
    text: Option<Vec<PageId>>,
    coded: Option<BTreeSet<PageId>>,
    /// Pages with a vector a passage, and with one a token.
    passages: Option<(BTreeSet<PageId>, BTreeSet<PageId>)>,
}

impl Parts {
    fn compare(&self, snapshot: &Snapshot, verified: &mut Verified) {
        let pages: Option<BTreeSet<PageId>> =
            self.pages.as_ref().map(|pages| pages.iter().copied().collect());
        if let (Some(set), Some(list)) = (&pages, &self.pages)
            && set.len() < list.len()
        {
            let twice = list.len() - set.len();
            verified.add("pages.lance", None, format!("{twice} pages are there twice"));
        }
        if let Some(ledger) = &self.ledger {
            verified.documents = ledger.len() as u64;
            if ledger.len() as u64 != snapshot.documents {
                let (got, expected) = (ledger.len(), snapshot.documents);
                let what = format!("{got} documents, the pointer says {expected}");
                verified.add("documents.lance", None, what);
            }
            if let Some(pages) = &pages {
                let expected = expected_pages(ledger);
                for page in expected.difference(pages) {
                    verified.add("pages.lance", Some(*page), "it is lost, or in a damaged file");
                }
                for page in pages.difference(&expected) {
                    verified.add("pages.lance", Some(*page), "the ledger does not have it");
                }
            }
        }
        if let (Some(pages), Some(coded)) = (&pages, &self.coded) {
            for page in self.with_vectors.difference(coded) {
                verified.add(CODES, Some(*page), "its vectors are not coded");
            }
            for page in coded.difference(pages) {
                verified.add(CODES, Some(*page), "codes of a page that is gone");
            }
        }
        if let (Some(pages), Some((pooled, tokens))) = (&pages, &self.passages) {
            for page in pooled.difference(pages) {
                verified.add(CODES, Some(*page), "passages of a page that is gone");
            }
            for page in pooled.symmetric_difference(tokens) {
                verified.add(CODES, Some(*page), "it has passages without tokens, or the reverse");
            }
        }
        if let (Some(pages), Some(text)) = (&pages, &self.text) {
            let set: BTreeSet<PageId> = text.iter().copied().collect();
            if set.len() < text.len() {
                let twice = text.len() - set.len();
                verified.add("text", None, format!("{twice} pages are there twice"));
            }
            for page in pages.difference(&set) {
                verified.add("text", Some(*page), "its words are not in the text index");
            }
            for page in set.difference(pages) {
                verified.add(
                    "text",
                    Some(*page),
                    "the text index has words of a page that is gone",
                );
            }
        }
    }
}

/// The pages that a ledger says are indexed: those before the next one to read that did not fail.
pub(crate) fn expected_pages(ledger: &[DocumentRecord]) -> BTreeSet<PageId> {
    let mut expected = BTreeSet::new();
    let mut seen: HashSet<DocumentId> = HashSet::new();
    for record in ledger.iter().filter(|record| record.pages_indexed > 0) {
        let Some(document) = record.document.filter(|document| seen.insert(*document)) else {
            continue;
        };
        let failed: HashSet<u32> = record.failed_pages.iter().map(|f| f.page).collect();
        let numbers = (1..record.next_page).filter(|number| !failed.contains(number));
        expected.extend(numbers.map(|number| PageId { document, number }));
    }
    expected
}
