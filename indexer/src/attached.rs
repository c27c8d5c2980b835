//! PDFs that other PDFs carry as attached files, a portfolio most of all. Each is a document of its
//! own, and the ledger names it after its carrier: `report.pdf!annex.pdf`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use pagesight_core::seam::{PdfDocument, PdfError, PdfReader};
use pagesight_core::{Attachment, DocumentId, DocumentRecord, FailureKind};

use crate::discover::{Found, decode_path};
use crate::options::Limits;

/// Stands between the names of a carrier and of what it carries.
const MARK: char = '!';

/// Carriers within carriers are read to this depth.
const MOST_DEEP: u32 = 3;

/// Attached PDFs of one file that are read, at any depth.
const MOST_FILES: usize = 500;

/// How much of what one file carries may still be read.
#[derive(Debug)]
pub(crate) struct Allowance {
    bytes: u64,
    files: usize,
    deep: u32,
}

impl Allowance {
    pub fn new(limits: &Limits) -> Self {
        Self { bytes: limits.file_bytes, files: MOST_FILES, deep: 0 }
    }

    /// One carrier further in, and out again.
    pub fn within<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.deep += 1;
        let done = work(self);
        self.deep -= 1;
        done
    }
}

/// An attached PDF, taken out of its carrier or not.
pub(crate) type Taken = (Found, Result<Vec<u8>, PdfError>);

/// Takes the PDFs that `carrier` carries out of it, as far as they are allowed. Also a note for a
/// person, when there are any.
pub(crate) fn take_out(
    carrier: &Found,
    pdf: &mut dyn PdfDocument,
    allowance: &mut Allowance,
) -> (Vec<Taken>, Option<String>) {
    let attachments = pdf.attachments().to_vec();
    if attachments.is_empty() {
        return (Vec::new(), None);
    }
    let count = attachments.len();
    if allowance.deep >= MOST_DEEP {
        let note = format!("of {count} attached PDFs none is read: PDFs within PDFs without end");
        return (Vec::new(), Some(note));
    }
    let mut taken = Vec::new();
    let is_file = |name: &str| !carrier.is_attached && is_beside(&carrier.file, name);
    for (attachment, path) in attachments.iter().zip(paths(&carrier.path, &attachments, is_file)) {
        if allowance.files == 0 || allowance.bytes == 0 {
            break;
        }
        allowance.files -= 1;
        let bytes = pdf.attached(attachment, allowance.bytes);
        let length = bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        allowance.bytes -= length.min(allowance.bytes);
        let found = Found { path, bytes: length, is_attached: true, ..carrier.clone() };
        taken.push((found, bytes));
    }
    let read = taken.len();
    let note = match (count, &taken[..]) {
        (_, taken) if read < count => {
            let last = taken.last().map_or("none", |(found, _)| &*found.path);
            format!("of {count} attached PDFs only the first {read} are read, up to {last}")
        }
        (1, [(found, _)]) => format!("the attached PDF is a document of its own: {}", found.path),
        _ => format!("{count} attached PDFs are documents of their own: {}, ...", taken[0].0.path),
    };
    (taken, Some(note))
}

/// Whether a file is called as `carrier`, a file beside it, and what it carries as `name` are called
/// together.
fn is_beside(carrier: &Path, name: &str) -> bool {
    let mut file = carrier.as_os_str().to_os_string();
    file.push(format!("{MARK}{name}"));
    Path::new(&file).symlink_metadata().is_ok()
}

/// How the ledger names the `attachments` of the document that it calls `carrier`. They may have
/// any name, one name more than once, and one that `is_file` says is that of a file.
fn paths(carrier: &str, attachments: &[Attachment], is_file: impl Fn(&str) -> bool) -> Vec<String> {
    let mut given = BTreeSet::new();
    let unique = |attachment: &Attachment| {
        let name = attachment.name.replace(['/', '\\'], "_");
        let name = if name.trim().is_empty() { "attached.pdf".into() } else { name };
        let numbered = (2..).map(|n| format!("{n}-{name}"));
        let names = std::iter::once(name.clone()).chain(numbered);
        let name = names.into_iter().find(|name| !given.contains(name) && !is_file(name));
        let name = name.expect("one of endless names is free");
        let path = format!("{carrier}{MARK}{name}");
        given.insert(name);
        path
    };
    attachments.iter().map(unique).collect()
}

/// The first file of which `path` may be an attachment and that `is_there`.
pub(crate) fn carrier(path: &str, is_there: impl Fn(&str) -> bool) -> Option<&str> {
    path.match_indices(MARK).map(|(at, _)| &path[..at]).find(|carrier| is_there(carrier))
}

/// Whether `path` is an attachment of the document `carrier`, at any depth.
fn is_within(path: &str, carrier: &str) -> bool {
    path.strip_prefix(carrier).is_some_and(|rest| rest.starts_with(MARK))
}

/// The records of `ledger` that are attachments of the document `carrier`.
pub(crate) fn records_within<'a>(
    ledger: &'a BTreeMap<String, DocumentRecord>,
    carrier: &'a str,
) -> impl Iterator<Item = &'a DocumentRecord> {
    ledger
        .range(format!("{carrier}{MARK}")..)
        .map(|(_, record)| record)
        .take_while(move |record| is_within(&record.path, carrier))
}

/// What a run saw of carriers and of what they carry.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Documents that were read to their end, or cannot be read any more: what they carry now is
    /// all that they carry.
    pub read: BTreeSet<String>,
    /// Records of what was attached, by path.
    pub attached: BTreeMap<String, DocumentRecord>,
}

impl Seen {
    /// Whether `path`, an attachment of a file that is there, is attached to it no more.
    pub fn is_gone(&self, path: &str) -> bool {
        !self.attached.contains_key(path)
            && carrier(path, |carrier| self.read.contains(carrier)).is_some()
    }

    /// Records of this run that are attachments of `carrier`.
    pub fn within(&self, carrier: &str) -> Vec<DocumentRecord> {
        records_within(&self.attached, carrier).cloned().collect()
    }
}

/// Whether one of `paths` is an attachment of the document `carrier`, at any depth.
pub(crate) fn any_within(paths: &BTreeSet<&str>, carrier: &str) -> bool {
    let first = format!("{carrier}{MARK}");
    paths.range(&*first..).next().is_some_and(|path| path.starts_with(&first))
}

/// The path of `record`, an attachment of `from`, when its carrier is called `to`.
pub(crate) fn moved(record: &DocumentRecord, from: &str, to: &str) -> String {
    format!("{to}{}", &record.path[from.len()..])
}

/// The bytes of the document that the ledger of an index with this `base` calls `path`, when it is
/// attached to a file that is there; `None` when there is no such file. No more than `most_bytes`
/// are taken out.
///
/// # Errors
/// [`PdfError`] when the carrier cannot be read, or does not carry it any more.
pub fn read_attached(
    reader: &dyn PdfReader,
    base: &Path,
    path: &str,
    most_bytes: u64,
) -> Option<Result<Vec<u8>, PdfError>> {
    let outermost = carrier(path, |carrier| decode_path(base, carrier).is_file())?;
    let unreadable = |error: std::io::Error| {
        PdfError::failed(FailureKind::Unreadable, format!("{outermost} cannot be read: {error}"))
    };
    let file = decode_path(base, outermost);
    let bytes = std::fs::read(&file).map_err(unreadable);
    let carrier = (outermost, Some(&*file));
    Some(bytes.and_then(|bytes| taken_out(reader, carrier, bytes, path, most_bytes)))
}

/// `path` out of `bytes`, the document that the ledger calls `carrier`, and its file when it is one.
fn taken_out(
    reader: &dyn PdfReader,
    (carrier, file): (&str, Option<&Path>),
    bytes: Vec<u8>,
    path: &str,
    most_bytes: u64,
) -> Result<Vec<u8>, PdfError> {
    let mut pdf = reader.open(DocumentId::of(&bytes), Arc::new(bytes), &Arc::default())?;
    let attachments = pdf.attachments().to_vec();
    let is_file = |name: &str| file.is_some_and(|file| is_beside(file, name));
    for (attachment, name) in attachments.iter().zip(paths(carrier, &attachments, is_file)) {
        if name == path {
            return pdf.attached(attachment, most_bytes);
        }
        if is_within(path, &name) {
            let bytes = pdf.attached(attachment, most_bytes)?;
            drop(pdf);
            return taken_out(reader, (&name, None), bytes, path, most_bytes);
        }
    }
    let reason = format!("{path} is not attached to {carrier} any more");
    Err(PdfError::failed(FailureKind::Unreadable, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attachments_are_named_after_their_carrier_each_by_its_own_name() {
        let names = ["a.pdf", "../a.pdf", "a.pdf", "", "x!y.pdf"];
        let attachments: Vec<Attachment> = names
            .iter()
            .zip(0..)
            .map(|(name, index)| Attachment::new(index, (*name).into()))
            .collect();
        let expected = [
            "b/o.pdf!a.pdf",
            "b/o.pdf!.._a.pdf",
            "b/o.pdf!2-a.pdf",
            "b/o.pdf!attached.pdf",
            "b/o.pdf!x!y.pdf",
        ];
        assert_eq!(paths("b/o.pdf", &attachments, |_| false), expected);
        let is_file = |name: &str| ["a.pdf", "3-a.pdf"].contains(&name);
        let named = paths("b/o.pdf", &attachments[..3], is_file);
        assert_eq!(named, ["b/o.pdf!2-a.pdf", "b/o.pdf!.._a.pdf", "b/o.pdf!4-a.pdf"]);
    }

    #[test]
    fn a_mark_in_the_name_of_a_file_is_no_mark() {
        let is_there = |path: &str| ["wow!.pdf", "wow!.pdf!a.pdf"].contains(&path);
        assert_eq!(carrier("wow!.pdf!b.pdf", is_there), Some("wow!.pdf"));
        assert_eq!(carrier("wow!.pdf", is_there), None);
        assert!(is_within("a.pdf!b.pdf", "a.pdf") && !is_within("a.pdf.pdf", "a.pdf"));
    }
}
