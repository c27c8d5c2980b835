//! The ledger of a writer, in memory: what became of each path, and which paths each document has. What a
//! commit asks of it takes as long as the commit is large, not as the ledger is.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pagesight_core::{DocumentId, DocumentRecord};

/// Records by path.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    records: BTreeMap<String, DocumentRecord>,
    paths: HashMap<DocumentId, BTreeSet<String>>,
}

/// What a path was before it was changed; `None` when it was not there.
pub(crate) type Before = Vec<(String, Option<DocumentRecord>)>;

impl Ledger {
    /// How many paths there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// All records, by path.
    pub fn records(&self) -> impl Iterator<Item = &DocumentRecord> {
        self.records.values()
    }

    /// What became of `path`.
    pub fn get(&self, path: &str) -> Option<&DocumentRecord> {
        self.records.get(path)
    }

    /// Its documents.
    pub fn documents(&self) -> impl Iterator<Item = DocumentId> {
        self.paths.keys().copied()
    }

    /// The paths and titles of a document, sorted; `None` for one that is not there.
    pub fn names(&self, document: DocumentId) -> Option<Vec<String>> {
        let paths = self.paths.get(&document)?;
        let titles = paths.iter().filter_map(|path| self.records[path].title.clone());
        Some(paths.iter().cloned().chain(titles).collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// Puts `record` in the place of what its path was, which is returned.
    pub fn insert(&mut self, record: DocumentRecord) -> Option<DocumentRecord> {
        let before = self.remove(&record.path);
        if let Some(document) = record.document {
            self.paths.entry(document).or_default().insert(record.path.clone());
        }
        self.records.insert(record.path.clone(), record);
        before
    }

    /// Takes a path out; what it was.
    pub fn remove(&mut self, path: &str) -> Option<DocumentRecord> {
        let record = self.records.remove(path)?;
        if let Some(document) = record.document
            && let Some(paths) = self.paths.get_mut(&document)
        {
            paths.remove(path);
            if paths.is_empty() {
                self.paths.remove(&document);
            }
        }
        Some(record)
    }

    /// Makes of the paths that were changed what they were `before`, the last change first.
    pub fn undo(&mut self, before: Before) {
        for (path, record) in before.into_iter().rev() {
            match record {
                Some(record) => _ = self.insert(record),
                None => _ = self.remove(&path),
            }
        }
    }
}

impl FromIterator<DocumentRecord> for Ledger {
    fn from_iter<T: IntoIterator<Item = DocumentRecord>>(records: T) -> Self {
        let mut ledger = Self::default();
        for record in records {
            ledger.insert(record);
        }
        ledger
    }
}

/// Paths and titles of each document, sorted.
pub(crate) fn names_of_documents(
    ledger: &BTreeMap<String, DocumentRecord>,
) -> HashMap<DocumentId, Vec<String>> {
    let mut names: HashMap<DocumentId, BTreeSet<String>> = HashMap::new();
    for record in ledger.values() {
        if let Some(document) = record.document {
            let names = names.entry(document).or_default();
            names.insert(record.path.clone());
            names.extend(record.title.clone());
        }
    }
    names.into_iter().map(|(id, names)| (id, names.into_iter().collect())).collect()
}

#[cfg(test)]
mod tests {
    use pagesight_core::testing::document_record;

    use super::*;

    #[test]
    fn documents_have_the_names_of_all_their_paths() {
        let (one, two) = (DocumentId::of(b"1"), DocumentId::of(b"2"));
        let titled = |path: &str, document, title: &str| DocumentRecord {
            title: Some(title.into()),
            ..document_record(path, document, 1)
        };
        let mut ledger: Ledger =
            [titled("b.pdf", one, "x"), titled("a.pdf", one, "b.pdf")].into_iter().collect();
        assert_eq!(ledger.names(one).unwrap(), ["a.pdf", "b.pdf", "x"]);
        let before = vec![
            ("b.pdf".to_string(), ledger.insert(titled("b.pdf", two, "y"))),
            ("a.pdf".to_string(), ledger.remove("a.pdf")),
            ("c.pdf".to_string(), ledger.insert(titled("c.pdf", one, "z"))),
            ("c.pdf".to_string(), ledger.remove("c.pdf")),
        ];
        assert_eq!((ledger.names(one), ledger.len()), (None, 1));
        assert_eq!(ledger.names(two).unwrap(), ["b.pdf", "y"]);
        assert_eq!(ledger.documents().collect::<Vec<_>>(), [two]);
        ledger.undo(before);
        assert_eq!(ledger.names(one).unwrap(), ["a.pdf", "b.pdf", "x"]);
        assert_eq!((ledger.names(two), ledger.get("c.pdf")), (None, None));
    }
}
