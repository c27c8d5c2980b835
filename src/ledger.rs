//! The ledger as searches see it: the records of the documents of their hits. All of it is read where a
//! path or a listing is asked for, or where the index is small enough to be kept in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use pagesight_core::{DocumentId, DocumentRecord, composed};
use pagesight_store::Reader;

use crate::error::Error;

/// A ledger of at most so many documents is read whole at once: that takes no longer than to look for a
/// few records in it.
const SMALL: u64 = 1_000;

/// One of at most so many is read whole when a process asks twice, and takes some 50 MB: it will ask more
/// often. Of a larger one, records are looked for each time.
const KEPT: u64 = 100_000;

/// The ledger of one snapshot, as far as it was asked for.
#[derive(Default)]
pub(crate) struct Ledger {
    whole: OnceLock<Whole>,
    asked: AtomicBool,
}

/// All of a ledger.
pub(crate) struct Whole {
    /// By path.
    records: BTreeMap<String, DocumentRecord>,
    /// Paths of each document, in order.
    paths: HashMap<DocumentId, Vec<String>>,
}

/// The records of some documents, by path.
pub(crate) type OfDocuments = HashMap<DocumentId, Vec<DocumentRecord>>;

impl Ledger {
    /// All of the ledger of `reader`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn whole(&self, reader: &Reader) -> Result<&Whole, Error> {
        if let Some(whole) = self.whole.get() {
            return Ok(whole);
        }
        let read = Whole::of(reader.documents()?);
        Ok(self.whole.get_or_init(|| read))
    }

    /// The record of the ledger path that is `path` to the letter.
    ///
    /// # Errors
    /// As [`whole`](Self::whole).
    pub fn at(&self, reader: &Reader, path: &str) -> Result<Option<DocumentRecord>, Error> {
        if self.whole.get().is_none() && reader.snapshot().documents() > SMALL {
            return Ok(reader.document_at(path)?);
        }
        Ok(self.whole(reader)?.records.get(path).cloned())
    }

    /// The documents whose ids begin with `digits`, in order.
    ///
    /// # Errors
    /// As [`whole`](Self::whole).
    pub fn beginning(&self, reader: &Reader, digits: &str) -> Result<Vec<DocumentId>, Error> {
        let begins = |id: &DocumentId| id.to_string().starts_with(digits);
        let mut found: Vec<DocumentId> =
            if self.whole.get().is_none() && reader.snapshot().documents() > SMALL {
                let records = reader.documents_beginning(digits)?;
                records.into_iter().filter_map(|record| record.document).collect()
            } else {
                self.whole(reader)?.paths.keys().copied().filter(begins).collect()
            };
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// The records of `documents` in the ledger of `reader`, in the order of their paths.
    ///
    /// # Errors
    /// As [`whole`](Self::whole).
    pub fn of(
        &self,
        reader: &Reader,
        documents: &HashSet<DocumentId>,
    ) -> Result<OfDocuments, Error> {
        let again = self.asked.swap(true, Ordering::Relaxed);
        let most = if again { KEPT } else { SMALL };
        if self.whole.get().is_none() && reader.snapshot().documents() > most {
            let mut found = OfDocuments::new();
            for record in reader.documents_of(documents)? {
                if let Some(document) = record.document {
                    found.entry(document).or_default().push(record);
                }
            }
            return Ok(found);
        }
        let whole = self.whole(reader)?;
        Ok(documents.iter().map(|&id| (id, whole.of_document(id).cloned().collect())).collect())
    }
}

impl Whole {
    fn of(all: Vec<DocumentRecord>) -> Self {
        let mut paths: HashMap<DocumentId, Vec<String>> = HashMap::new();
        for record in &all {
            if let Some(document) = record.document {
                paths.entry(document).or_default().push(record.path.clone());
            }
        }
        let records = all.into_iter().map(|record| (record.path.clone(), record)).collect();
        Self { records, paths }
    }

    /// All records, by path.
    pub fn records(&self) -> impl Iterator<Item = &DocumentRecord> {
        self.records.values()
    }

    /// Paths of a document, in order.
    pub fn paths(&self, document: DocumentId) -> &[String] {
        self.paths.get(&document).map(Vec::as_slice).unwrap_or_default()
    }

    /// Records of a document, by path.
    pub fn of_document(&self, document: DocumentId) -> impl Iterator<Item = &DocumentRecord> {
        self.paths(document).iter().map(|path| &self.records[path])
    }

    /// Documents with a path that passes `keep`.
    pub fn documents_where(&self, keep: impl Fn(&str) -> bool) -> HashSet<DocumentId> {
        let kept = self.paths.iter().filter(|(_, paths)| paths.iter().any(|path| keep(path)));
        kept.map(|(document, _)| *document).collect()
    }

    /// Whether a path of the ledger is `path`, whose letters are composed.
    pub fn has_path(&self, path: &str) -> bool {
        self.records.contains_key(path) || self.records.keys().any(|known| composed(known) == path)
    }

    /// The record that `path` means: that of itself, or of the only ledger path that ends with it.
    ///
    /// # Errors
    /// [`Error::NoSuchDocument`], [`Error::AmbiguousPath`].
    pub fn resolve(&self, path: &str) -> Result<&DocumentRecord, Error> {
        if let Some(record) = self.records.get(path) {
            return Ok(record);
        }
        // A Mac writes the letters of names and their marks apart; what is typed has them composed.
        let path = composed(path);
        let known = self.records.values().find(|record| composed(&record.path) == path);
        if let Some(record) = known {
            return Ok(record);
        }
        let end = format!("/{path}");
        let ends = |record: &&DocumentRecord| composed(&record.path).ends_with(&end);
        let found: Vec<&DocumentRecord> = self.records.values().filter(ends).collect();
        match found[..] {
            [] => Err(Error::NoSuchDocument { path: path.into_owned() }),
            [record] => Ok(record),
            _ => {
                let candidates = found.iter().map(|record| record.path.clone()).collect();
                Err(Error::AmbiguousPath { path: path.into_owned(), candidates })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pagesight_core::seam::{Batch, PageSink};
    use pagesight_core::testing::document_record;
    use pagesight_store::Writer;

    use super::*;

    #[test]
    fn a_large_ledger_says_the_same_read_in_part_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let index = dir.path().join("index");
        let mut writer = Writer::create(&index).unwrap();
        let id = |number: u32| DocumentId::of(&number.to_le_bytes());
        // Some documents lie at two paths, and a path has letters that SQL would take for its own.
        let twice = (0..9).map(|number| document_record(&format!("b'{number}.pdf"), id(number), 1));
        let all = 1 + SMALL as u32;
        let once =
            (0..all).map(|number| document_record(&format!("a/{number}.pdf"), id(number), 1));
        let documents: Vec<DocumentRecord> = twice.chain(once).collect();
        writer.commit(Batch { documents, ..Batch::default() }).unwrap();
        let reader = Reader::open(&index).unwrap();
        let (part, whole) = (Ledger::default(), Ledger::default());
        whole.whole(&reader).unwrap();
        let wanted: HashSet<DocumentId> = [0, 3, 8, 9, 700, 5_000].map(id).into();
        let mut read = part.of(&reader, &wanted).unwrap();
        assert!(part.whole.get().is_none(), "a few records are read alone");
        let mut expected = whole.of(&reader, &wanted).unwrap();
        // What is not there is left out, or has no record.
        expected.retain(|_, records| !records.is_empty());
        read.retain(|_, records| !records.is_empty());
        assert_eq!(read, expected);
        assert_eq!(read[&id(3)].len(), 2);
        for path in ["b'3.pdf", "a/3.pdf", "3.pdf", "c.pdf"] {
            assert_eq!(part.at(&reader, path).unwrap(), whole.at(&reader, path).unwrap(), "{path}");
        }
        for digits in ["0", "3f", "a7", &id(5).to_string(), &id(5_000).to_string()] {
            let found = part.beginning(&reader, digits).unwrap();
            assert_eq!(found, whole.beginning(&reader, digits).unwrap(), "{digits}");
        }
        // Who asks again will ask more often.
        part.of(&reader, &wanted).unwrap();
        assert!(part.whole.get().is_some());
    }
}
