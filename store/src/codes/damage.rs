//! Damaged codes: how a search reports them to the next writer, and what can be saved.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use pagesight_core::PageId;
use pagesight_maxsim::{Segment, SegmentWriter};

use super::segments::{create, map, name};
use crate::error::StoreError;
use crate::snapshot::names::CODES;

/// A search that met damage leaves this file in the folder. Hidden, so that it is not collected as
/// garbage before a writer has seen it.
const MARK: &str = ".doubt";

/// Asks the next writer to derive all codes again. Where this process may not write, searches go on
/// without codes.
pub(crate) fn mark(index: &Path) {
    let _ = File::create(index.join(CODES).join(MARK));
}

/// Whether a search met damage since the codes were derived.
pub(crate) fn is_marked(index: &Path) -> bool {
    index.join(CODES).join(MARK).exists()
}

/// Takes the mark away: the codes are derived again.
pub(crate) fn unmark(index: &Path) {
    let _ = fs::remove_file(index.join(CODES).join(MARK));
}

/// As [`MARK`], for the codes of passages.
const PASSAGES_MARK: &str = ".doubt-passages";

/// Asks the next run to encode the passages of all pages again.
pub(crate) fn mark_passages(index: &Path) {
    let _ = File::create(index.join(CODES).join(PASSAGES_MARK));
}

/// Whether a search met damage since the passages were encoded.
pub(crate) fn are_passages_marked(index: &Path) -> bool {
    index.join(CODES).join(PASSAGES_MARK).exists()
}

/// Takes that mark away.
pub(crate) fn unmark_passages(index: &Path) {
    let _ = fs::remove_file(index.join(CODES).join(PASSAGES_MARK));
}

/// The pages that can be saved of the segments `names`, some of which are damaged.
pub(crate) fn salvage(index: &Path, names: &[String]) -> BTreeSet<PageId> {
    let mut sound = BTreeSet::new();
    for segment in names.iter().filter_map(|name| map(index, name).ok()) {
        let mut scratch = SegmentWriter::like(io::sink(), &segment);
        let pages = (0..segment.len()).filter(|&page| scratch.copy(&segment, page).is_ok());
        sound.extend(pages.map(|page| segment.id(page)));
    }
    sound
}

/// Writes those pages of the segments `names` that are in `keep` anew, as commit `number`; what is
/// damaged is passed over. `None` when nothing is left to tell how pages are coded.
pub(crate) fn keep(
    index: &Path,
    number: u64,
    names: &[String],
    keep: &BTreeSet<PageId>,
) -> Result<Option<String>, StoreError> {
    // The newest copy of a page counts; all copies are of the same vectors.
    let sound: Vec<Segment> = names.iter().rev().filter_map(|name| map(index, name).ok()).collect();
    let Some(first) = sound.first() else { return Ok(None) };
    let (path, file) = create(index, number)?;
    let mut writer = SegmentWriter::like(file, first);
    let mut missing = keep.clone();
    for segment in &sound {
        for page in 0..segment.len() {
            if missing.contains(&segment.id(page)) {
                match writer.copy(segment, page) {
                    Ok(()) => _ = missing.remove(&segment.id(page)),
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                    Err(error) => return Err(StoreError::io("writing", &path)(error)),
                }
            }
        }
    }
    writer.finish().map_err(StoreError::io("writing", &path))?;
    Ok(Some(name(number)))
}
