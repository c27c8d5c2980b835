//! What the ledger has and the walk did not find: files that are gone, and folders that are empty
//! from one run to the next, which are more often drives that are not mounted than decisions.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use pagesight_core::{DocumentId, DocumentRecord};

use crate::attached::{self, Seen};
use crate::discover::{Discovery, IGNORE_FILE, decode_path};
use crate::event::Emptied;
use crate::ledger::Ledger;

/// A folder within a root must have held so many documents; one that held a single one is a folder
/// out of which the last document was taken.
const FEW_IN_FOLDER: usize = 2;

/// The outcome of a walk beside the ledger of before.
#[derive(Clone, Copy)]
pub(crate) struct Missing<'a> {
    pub ledger: &'a Ledger,
    pub discovery: &'a Discovery,
    pub base: &'a Path,
    /// Documents that this run has read, or met under another name.
    pub done: &'a HashMap<DocumentId, DocumentRecord>,
}

impl<'a> Missing<'a> {
    /// Paths of the ledger whose files are gone. What the walk could not look at is not gone, and
    /// neither is what was below the folders `kept`, but for what has another place now. What is
    /// attached to a file that is there is gone when the run `seen` read that file and did not find
    /// it.
    pub fn gone(self, kept: &'a [Emptied], seen: &'a Seen) -> impl Iterator<Item = &'a str> {
        let is_kept = move |record: &DocumentRecord| {
            let file = decode_path(self.base, &record.path);
            kept.iter().any(|emptied| file.starts_with(&emptied.root)) && !self.is_moved(record)
        };
        let is_gone = move |record: &&DocumentRecord| {
            let is_there = |path: &str| self.discovery.files.contains_key(path);
            if is_there(&record.path) {
                false
            } else if attached::carrier(&record.path, is_there).is_some() {
                seen.is_gone(&record.path)
            } else {
                self.discovery.covers(self.base, &record.path) && !is_kept(record)
            }
        };
        self.ledger.values().filter(is_gone).map(|record| record.path.as_str())
    }

    /// Roots below which nothing was found, although the ledger has documents there, and folders
    /// within roots that are there and bare, and held several documents.
    pub fn emptied(self) -> Vec<Emptied> {
        let roots = self.emptied_roots();
        let is_below_one =
            |file: &Path| roots.iter().any(|emptied| file.starts_with(&emptied.root));
        // For each folder that held what is gone, the nearest one that is there, where that is bare.
        let mut bare: HashMap<PathBuf, Option<PathBuf>> = HashMap::new();
        let mut folders: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for (record, file) in self.missed() {
            let is_gone = !self.discovery.files.contains_key(&record.path)
                && attached::carrier(&record.path, |path| self.ledger.contains_key(path)).is_none()
                && self.discovery.covers(self.base, &record.path)
                && !is_below_one(&file);
            let Some(folder) = file.parent().filter(|_| is_gone) else { continue };
            let known = bare.entry(folder.into()).or_insert_with(|| {
                let there = folder.ancestors().find(|folder| folder.is_dir())?;
                let is_within = |root: &PathBuf| there != root && there.starts_with(root);
                let is_bare = self.discovery.roots.iter().any(is_within) && is_bare(there);
                is_bare.then(|| there.to_path_buf())
            });
            if let Some(folder) = known {
                *folders.entry(folder.clone()).or_default() += 1;
            }
        }
        let folders = folders.into_iter().filter(|(_, documents)| *documents >= FEW_IN_FOLDER);
        roots
            .into_iter()
            .chain(folders.map(|(folder, count)| Emptied::new(folder, count)))
            .collect()
    }

    fn emptied_roots(self) -> Vec<Emptied> {
        let is_empty =
            |root: &&PathBuf| !self.discovery.files.values().any(|f| f.file.starts_with(root));
        let roots = self.discovery.roots.iter().filter(is_empty).map(|root| {
            let documents = self.missed().filter(|(_, file)| file.starts_with(root)).count();
            Emptied::new(root.clone(), documents)
        });
        roots.filter(|emptied| emptied.documents > 0).collect()
    }

    /// The records whose documents have no other place now, and their files.
    fn missed(self) -> impl Iterator<Item = (&'a DocumentRecord, PathBuf)> {
        let missed = self.ledger.values().filter(move |record| !self.is_moved(record));
        missed.map(move |record| (record, decode_path(self.base, &record.path)))
    }

    /// Whether the document of a record was met in another place.
    fn is_moved(self, record: &DocumentRecord) -> bool {
        let met = record.document.and_then(|document| self.done.get(&document));
        met.is_some_and(|met| met.path != record.path)
    }
}

/// Whether nothing is in a folder but hidden files, such as one that says which drive belongs there.
/// One that says what is left out means it, and a folder that cannot be listed may hold anything.
fn is_bare(folder: &Path) -> bool {
    let Ok(mut entries) = folder.read_dir() else { return false };
    entries.all(|entry| {
        entry.is_ok_and(|entry| {
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            let name = entry.file_name();
            is_file && name != IGNORE_FILE && name.as_encoded_bytes().starts_with(b".")
        })
    })
}

#[cfg(test)]
mod tests {
    use pagesight_core::testing::document_record;

    use super::*;
    use crate::discover::Found;

    #[test]
    fn what_the_walk_looked_at_and_did_not_find_is_gone() {
        let id = DocumentId::of(b"document");
        let mut discovery = Discovery { roots: vec!["/b".into()], ..Discovery::default() };
        let (file, path) = (PathBuf::from("/b/a.pdf"), "a.pdf".to_string());
        let found = Found { file, path, bytes: 1, modified_ns: 0, is_attached: false };
        discovery.files.insert("a.pdf".into(), found);
        discovery.unreadable.push(("/b/locked".into(), "permission denied".into()));
        let paths = ["a.pdf", "b.pdf", "locked/c.pdf", "/elsewhere/d.pdf"];
        let ledger: Ledger =
            paths.iter().map(|path| (path.to_string(), document_record(path, id, 1))).collect();
        let (base, seen) = (Path::new("/b"), Seen::default());
        let mut done = HashMap::new();
        let gone = |kept: &[Emptied], done: &HashMap<DocumentId, DocumentRecord>| {
            let missing = Missing { ledger: &ledger, discovery: &discovery, base, done };
            missing.gone(kept, &seen).map(String::from).collect::<Vec<_>>()
        };
        assert_eq!(gone(&[], &done), ["b.pdf"]);
        let kept = [Emptied::new("/b".into(), 3)];
        assert!(gone(&kept, &done).is_empty());
        done.insert(id, document_record("moved/b.pdf", id, 1));
        assert_eq!(gone(&kept, &done), ["b.pdf"], "it has another place");
    }
}
