//! Few large segments in the place of many small ones.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use pagesight_core::DocumentId;
use pagesight_maxsim::{Segment, SegmentWriter};

use super::segments::{create_named, map, name_like, open};
use crate::error::StoreError;

/// Pages copied from one mapping of a segment, about 140 kB each.
const MAPPED: usize = 256;

/// A segment is joined with the newer ones when they have together at least this share of its
/// bytes: each page is copied a logarithmic number of times.
const JOIN: usize = 2;

/// Joins the newest segments of `names` when that pays, as commit `number`; their names after.
pub(crate) fn join(index: &Path, names: &[String], number: u64) -> Result<Vec<String>, StoreError> {
    let segments = open(index, names)?;
    let bytes = |segment: &Segment| if segment.is_empty() { 0 } else { segment.bytes() };
    let first = first_to_join(segments.segments().iter().map(bytes).collect());
    let all: usize = segments.segments().iter().map(Segment::len).sum();
    // Half of the pages dead: all is written anew.
    let dead = all > 2 * segments.living().len();
    let first = if dead { 0 } else { first };
    if first + 1 >= names.len() && !(first == 0 && dead) {
        return Ok(names.to_vec());
    }
    let joined = &segments.segments()[first..];
    let first_segment = map(index, &names[first])?;
    let dropped: BTreeSet<DocumentId> = joined.iter().flat_map(Segment::dropped).collect();
    let mut copied: Vec<Vec<usize>> = vec![Vec::new(); names.len()];
    for slot in segments.living() {
        copied[slot.segment as usize].push(slot.index as usize);
    }
    drop(segments);
    let joined_name = name_like(&names[first], number);
    let (path, file) = create_named(index, &joined_name)?;
    let writing = |error: io::Error| match error.kind() {
        io::ErrorKind::InvalidData => {
            StoreError::Codes { path: path.clone(), source: error.into() }
        }
        _ => StoreError::io("writing", &path)(error),
    };
    let mut writer = SegmentWriter::like(file, &first_segment);
    dropped.into_iter().for_each(|document| writer.drop_document(document));
    for (name, pages) in names.iter().zip(copied).skip(first) {
        for some in pages.chunks(MAPPED) {
            // Mapped anew for each few: what was read of a mapping stays resident until it ends.
            let segment = map(index, name)?;
            for &page in some {
                writer.copy(&segment, page).map_err(writing)?;
            }
        }
    }
    writer.finish().map_err(writing)?;
    Ok(names[..first].iter().cloned().chain([joined_name]).collect())
}

/// The first of the segments to join: going back from the newest, as long as what was gathered is
/// not small beside the next. A segment that only drops documents has no bytes: it goes with the
/// next one where that is joined for its own sake.
fn first_to_join(bytes: Vec<usize>) -> usize {
    let mut first = bytes.len().saturating_sub(1);
    let mut gathered = bytes.last().copied().unwrap_or(0);
    while first > 0 {
        let next = bytes[first - 1];
        let for_its_own_sake = || first > 1 && next * JOIN >= bytes[first - 2];
        if gathered * JOIN < next && !(gathered == 0 && for_its_own_sake()) {
            break;
        }
        first -= 1;
        gathered += next;
    }
    first
}

#[cfg(test)]
mod tests {
    use super::first_to_join;

    #[test]
    fn small_segments_are_joined_and_large_ones_left() {
        assert_eq!(first_to_join(vec![1000, 10]), 1);
        assert_eq!(first_to_join(vec![1000, 10, 10, 10]), 1);
        assert_eq!(first_to_join(vec![1000, 400, 100]), 2);
        assert_eq!(first_to_join(vec![1000, 300, 200]), 0);
        assert_eq!(first_to_join(vec![]), 0);
        // The newest only drops documents.
        assert_eq!(first_to_join(vec![1000, 10, 10, 0]), 1);
        assert_eq!(first_to_join(vec![1000, 10, 0]), 2);
        assert_eq!(first_to_join(vec![1000, 0, 0, 0]), 1);
    }
}
