//! What a run would do, found out without reading a page: for work that other machines do.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use pagesight_core::seam::PageSink;
use pagesight_core::{DocumentId, DocumentRecord, ModelId};

use crate::attached::{self, Seen};
use crate::discover::{Discovery, Found, decode_path, discover, modified_ns};
use crate::error::IndexError;
use crate::event::{Emptied, Event, Summary};
use crate::ledger::{self, Ledger, Wants};
use crate::missing::Missing;
use crate::options::{Engines, SyncOptions};
use crate::pipeline::Pipeline;

/// A file that is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyedFile {
    /// Its path in the ledger.
    pub path: String,
    /// Size, bytes.
    pub bytes: u64,
    /// Modification time, nanoseconds since 1970.
    pub modified_ns: i64,
}

/// What a run would do.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Survey {
    /// Documents to read, each with all of its files; one without an id could not be read.
    pub to_read: Vec<(Option<DocumentId>, Vec<SurveyedFile>)>,
    /// Records of documents that are in the index and have another path now, or a further one, or
    /// another time.
    pub renamed: Vec<DocumentRecord>,
    /// Paths whose files are gone, and the documents that were there.
    pub dropped: Vec<(String, Option<DocumentId>)>,
    /// Files that need nothing.
    pub unchanged: u64,
    /// Folders that held documents and are empty: what was there stays.
    pub emptied: Vec<Emptied>,
    /// What could not be looked into, and why: nothing below is dropped.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// Compares the PDFs below `roots` with `records`, the ledger, as [`sync`](crate::sync()) does, and
/// hashes what is new or changed. `model` is the one that pages are to have vectors of.
///
/// # Errors
/// [`IndexError::Root`] for a root that is not there.
pub fn survey(
    records: Vec<DocumentRecord>,
    base: &Path,
    roots: &[PathBuf],
    model: Option<&ModelId>,
    options: &SyncOptions,
) -> Result<Survey, IndexError> {
    let discovery = discover(base, roots, options.links_out, &options.stop)?;
    let hash = &mut |found: &Found| hash(found, options.limits.file_bytes);
    Ok(compare(records, base, &discovery, model, options, hash))
}

/// As [`survey`], of `files` that lie elsewhere than in folders, all that are there below `place`, which
/// stands for a base. `hash` says which document a file is; `None` for one that cannot be read.
pub fn survey_listed(
    records: Vec<DocumentRecord>,
    place: &Path,
    files: &[SurveyedFile],
    model: Option<&ModelId>,
    options: &SyncOptions,
    hash: &mut dyn FnMut(&str) -> Option<DocumentId>,
) -> Survey {
    let mut discovery = Discovery { roots: vec![place.into()], ..Discovery::default() };
    for SurveyedFile { path, bytes, modified_ns } in files.iter().cloned() {
        let file = place.join(&path);
        let found = Found { file, path: path.clone(), bytes, modified_ns, is_attached: false };
        discovery.files.insert(path, found);
    }
    let most_bytes = options.limits.file_bytes;
    let hash = &mut |found: &Found| (found.bytes <= most_bytes).then(|| hash(&found.path))?;
    compare(records, place, &discovery, model, options, hash)
}

/// Compares what was found with `records`, the ledger.
fn compare(
    records: Vec<DocumentRecord>,
    base: &Path,
    discovery: &Discovery,
    model: Option<&ModelId>,
    options: &SyncOptions,
    hash: &mut dyn FnMut(&Found) -> Option<DocumentId>,
) -> Survey {
    let ledger: Ledger = records.into_iter().map(|r| (r.path.clone(), r)).collect();
    let wants = Wants {
        model: model.cloned(),
        retry_failed: options.retry_failed,
        has_passwords: false,
        file_bytes: options.limits.file_bytes,
    };
    let mut survey = Survey { unreadable: discovery.unreadable.clone(), ..Survey::default() };
    let whole: HashMap<DocumentId, &DocumentRecord> = ledger
        .values()
        .filter(|r| wants.is_whole(r) && wants.carries_nothing_to_read(r, &ledger))
        .filter_map(|record| Some((record.document?, record)))
        .collect();
    let mut done: HashMap<DocumentId, DocumentRecord> = HashMap::new();
    let mut reading: BTreeMap<(Option<DocumentId>, String), Vec<SurveyedFile>> = BTreeMap::new();
    for (path, found) in &discovery.files {
        let before = ledger.get(path);
        if before.is_some_and(|record| wants.is_settled_whole(found, record, &ledger)) {
            survey.unchanged += 1;
            continue;
        }
        let document = hash(found);
        if let Some(known) = document.and_then(|id| whole.get(&id)) {
            let (record, _) = ledger::known(found, known, before);
            done.insert(document.expect("it is known by it"), record.clone());
            survey.renamed.push(record);
            survey.renamed.extend(carried(known, found, &ledger));
            continue;
        }
        if let Some(id) = document {
            done.insert(id, DocumentRecord { document, ..ledger::unread(found) });
        }
        let file =
            SurveyedFile { path: path.clone(), bytes: found.bytes, modified_ns: found.modified_ns };
        // What cannot be hashed is a document of its own.
        let alone = if document.is_none() { path.clone() } else { String::new() };
        reading.entry((document, alone)).or_default().push(file);
    }
    survey.to_read = reading.into_iter().map(|((id, _), files)| (id, files)).collect();
    let missing = Missing { ledger: &ledger, discovery, base, done: &done };
    survey.emptied = missing.emptied();
    let kept = if options.drop_emptied { &[][..] } else { &survey.emptied[..] };
    let renamed: Vec<&str> = survey.renamed.iter().map(|record| &*record.path).collect();
    survey.dropped = missing
        .gone(kept, &Seen::default())
        .filter(|path| !renamed.contains(path))
        .map(|path| (path.to_string(), ledger[path].document))
        .collect();
    survey
}

/// The records of what the document `known` carries, by the names that they have where it is `found`.
fn carried<'a>(
    known: &'a DocumentRecord,
    found: &'a Found,
    ledger: &'a Ledger,
) -> impl Iterator<Item = DocumentRecord> + 'a {
    attached::records_within(ledger, &known.path).map(move |inner| {
        let path = attached::moved(inner, &known.path, &found.path);
        let found = Found { path, bytes: inner.bytes, is_attached: true, ..found.clone() };
        ledger::known(&found, inner, ledger.get(&found.path)).0
    })
}

/// The hash of a file; `None` for one that cannot be read, or that no run reads for its size.
fn hash(found: &Found, most_bytes: u64) -> Option<DocumentId> {
    if found.bytes > most_bytes {
        return None;
    }
    let mut hash = blake3::Hasher::new();
    hash.update_reader(File::open(&found.file).ok()?).ok()?;
    Some(DocumentId(*hash.finalize().as_bytes()))
}

/// Reads the files that the ledger calls `paths` into `sink`, whose ledger says which of them are read
/// already, and how far. Nothing is dropped but what a document does not carry any more. A file that
/// is not there becomes a record that says so.
///
/// # Errors
/// As [`sync`](crate::sync()).
pub fn read_files(
    sink: &mut dyn PageSink,
    engines: &Engines,
    base: &Path,
    paths: &[String],
    options: &SyncOptions,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Summary, IndexError> {
    let mut discovery = Discovery::default();
    for path in paths {
        let file = decode_path(base, path);
        let meta = file.metadata();
        let (bytes, modified_ns) = meta.map_or((0, 0), |meta| (meta.len(), modified_ns(&meta)));
        let found = Found { file, path: path.clone(), bytes, modified_ns, is_attached: false };
        discovery.files.insert(path.clone(), found);
    }
    let records = sink.documents().map_err(IndexError::Store)?;
    let ledger: Ledger = records.into_iter().map(|r| (r.path.clone(), r)).collect();
    // What is read here is taken over as a whole: looks alone are of no use to anybody.
    let options = &SyncOptions { look_first: None, ..options.clone() };
    let mut pipeline = Pipeline::new(sink, engines, options, &ledger, tell);
    let jobs = pipeline.plan(&discovery);
    if !jobs.is_empty() && !options.stop.load(std::sync::atomic::Ordering::Relaxed) {
        pipeline.read_all(jobs)?;
    }
    pipeline.finish(&discovery, base)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use pagesight_core::testing::{FakePdfReader, document_record};

    use super::*;

    #[test]
    fn a_survey_says_what_a_run_would_do() {
        let place = tempfile::tempdir().unwrap();
        let base = place.path().canonicalize().unwrap();
        let write = |name: &str, words: &str| {
            fs::create_dir_all(base.join(name).parent().unwrap()).unwrap();
            let bytes = FakePdfReader::pdf(&[words]);
            fs::write(base.join(name), &bytes).unwrap();
            (Found::at(&base, &base.join(name)).unwrap(), DocumentId::of(&bytes))
        };
        let record = |found: &Found, path: &str, id| DocumentRecord {
            bytes: found.bytes,
            modified_ns: found.modified_ns,
            ..document_record(path, id, 1)
        };
        let (same, same_id) = write("same.pdf", "as it was");
        let (new, new_id) = write("new/one.pdf", "something new");
        let (copy, _) = write("new/two.pdf", "something new");
        let (moved, moved_id) = write("moved.pdf", "in another place");
        let (changed, changed_id) = write("changed.pdf", "with other words");
        let gone_id = DocumentId::of(b"gone");
        let records = vec![
            record(&same, "same.pdf", same_id),
            record(&moved, "before.pdf", moved_id),
            DocumentRecord { bytes: 1, ..record(&changed, "changed.pdf", gone_id) },
            record(&changed, "gone.pdf", gone_id),
            document_record("/elsewhere/x.pdf", gone_id, 1),
        ];
        let options = SyncOptions::default();
        let roots = std::slice::from_ref(&base);
        let found = survey(records, &base, roots, None, &options).unwrap();
        let file = |found: &Found| SurveyedFile {
            path: found.path.clone(),
            bytes: found.bytes,
            modified_ns: found.modified_ns,
        };
        let mut expected = vec![
            (Some(new_id), vec![file(&new), file(&copy)]),
            (Some(changed_id), vec![file(&changed)]),
        ];
        expected.sort_by_key(|(id, _)| *id);
        assert_eq!(found.to_read, expected);
        assert_eq!(found.unchanged, 1);
        assert_eq!(found.renamed, [record(&moved, "moved.pdf", moved_id)]);
        let gone = [("before.pdf", moved_id), ("gone.pdf", gone_id)];
        assert_eq!(found.dropped, gone.map(|(path, id)| (path.to_string(), Some(id))));
    }

    #[test]
    fn files_that_are_listed_are_compared_as_those_of_a_folder() {
        let place = Path::new("s3://archive/pdfs");
        let file =
            |path: &str, modified_ns| SurveyedFile { path: path.into(), bytes: 3, modified_ns };
        let id = |path: &str| DocumentId::of(path.as_bytes());
        let record = |path: &str, name: &str| DocumentRecord {
            bytes: 3,
            modified_ns: 7,
            ..document_record(path, id(name), 1)
        };
        let records = vec![
            record("same.pdf", "same"),
            record("before.pdf", "moved"),
            record("gone.pdf", "gone"),
            record("changed.pdf", "old"),
        ];
        let files = [
            file("same.pdf", 7),
            file("a folder/moved.pdf", 7),
            file("changed.pdf", 8),
            SurveyedFile { bytes: u64::MAX, ..file("large.pdf", 7) },
        ];
        let mut asked = Vec::new();
        let hash = &mut |path: &str| {
            asked.push(path.to_string());
            Some(if path.ends_with("moved.pdf") { id("moved") } else { id(path) })
        };
        let options = SyncOptions::default();
        let found = survey_listed(records.clone(), place, &files, None, &options, hash);
        assert_eq!(asked, ["a folder/moved.pdf", "changed.pdf"]);
        assert_eq!((found.unchanged, found.renamed.len()), (1, 1));
        let read: Vec<_> = found.to_read.iter().map(|(id, files)| (*id, &*files[0].path)).collect();
        assert_eq!(read, [(None, "large.pdf"), (Some(id("changed.pdf")), "changed.pdf")]);
        let dropped = [("before.pdf", id("moved")), ("gone.pdf", id("gone"))];
        assert_eq!(found.dropped, dropped.map(|(path, id)| (path.to_string(), Some(id))));
        // A place where nothing is any more is no reason to drop all.
        let found = survey_listed(records, place, &[], None, &options, &mut |_| None);
        assert_eq!((found.emptied.len(), found.dropped.len()), (1, 0));
    }
}
