//! The segment of one commit: the codes of the pages that it adds, and the documents that it drops.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use pagesight_core::{DocumentId, PageId, PageRecord, PageVectors};
use pagesight_maxsim::{Int8Page, ResidualCoder, SegmentWriter, Sketch, SketchCoder};
use rayon::prelude::*;

use super::residual::only_copy;
use super::segments::{create, map, name, open};
use crate::error::StoreError;

/// Pages that are coded at once and then written: all cores have work, and no batch is in memory a
/// second time as a whole.
const CODED: usize = 16;

/// Pages that the mean of the first sketches is taken of, and the centres of residual codes.
pub(super) const SAMPLE: usize = 256;

/// Writes the segment of commit `number`, after the segments `names`: `dropped` documents and the
/// vectors of `pages`; of a `compact` index in residual codes. `None` when there is nothing to say.
pub(crate) fn write(
    index: &Path,
    number: u64,
    dim: usize,
    names: &[String],
    dropped: &[DocumentId],
    pages: &[PageRecord],
    compact: bool,
) -> Result<Option<String>, StoreError> {
    let coded: Vec<_> = pages.iter().filter_map(|p| Some((p.id, p.vectors.as_ref()?))).collect();
    if coded.is_empty() && dropped.is_empty() {
        return Ok(None);
    }
    if compact {
        return write_residual(index, number, names, dropped, &coded).map(Some);
    }
    let fit = || fit(dim, coded.iter().map(|&(_, page)| page));
    let coder = coder(index, names).unwrap_or_else(fit);
    let (path, file) = create(index, number)?;
    let write = || {
        let mut writer = SegmentWriter::new(file, &coder);
        dropped.iter().for_each(|&document| writer.drop_document(document));
        for some in coded.chunks(CODED) {
            let code = |&(id, page): &(PageId, &PageVectors)| (id, encode(&coder, page));
            for (id, (code, sketch)) in some.par_iter().map(code).collect::<Vec<_>>() {
                writer.push(id, &code, &sketch)?;
            }
        }
        writer.finish().map(drop)
    };
    write().map_err(StoreError::io("writing", &path))?;
    Ok(Some(name(number)))
}

/// As [`write()`], around the centres that the first of `names` has.
fn write_residual(
    index: &Path,
    number: u64,
    names: &[String],
    dropped: &[DocumentId],
    pages: &[(PageId, &PageVectors)],
) -> Result<String, StoreError> {
    let first = names.first().expect("a compact index has codes");
    let first = map(index, first).map_err(only_copy)?;
    let (path, file) = create(index, number)?;
    let write = || {
        let mut writer = SegmentWriter::like(file, &first);
        let coder = first.residual_coder().expect("a compact index");
        let sketches = SketchCoder::around(first.mean().to_vec());
        dropped.iter().for_each(|&document| writer.drop_document(document));
        for some in pages.chunks(CODED) {
            push_residual(&mut writer, coder, &sketches, some)?;
        }
        writer.finish().map(drop)
    };
    write().map_err(StoreError::io("writing", &path))?;
    Ok(name(number))
}

/// Codes `pages` on all cores.
pub(super) fn push_residual(
    writer: &mut SegmentWriter<BufWriter<File>>,
    coder: &ResidualCoder,
    sketches: &SketchCoder,
    pages: &[(PageId, &PageVectors)],
) -> io::Result<()> {
    let code = |&(_, page): &(PageId, &PageVectors)| {
        let dims = "one dim in an index";
        (coder.encode(page).expect(dims), sketches.encode(page).expect(dims))
    };
    let coded: Vec<_> = pages.par_iter().map(code).collect();
    for ((id, page), (code, sketch)) in pages.iter().zip(coded) {
        writer.push_residual(*id, &code, page.places(), &sketch)?;
    }
    Ok(())
}

/// What makes the sketches of an index whose first pages are `pages`.
pub(super) fn fit<'a>(dim: usize, pages: impl IntoIterator<Item = &'a PageVectors>) -> SketchCoder {
    let mut pages = pages.into_iter().take(SAMPLE).peekable();
    match pages.peek() {
        Some(_) => SketchCoder::fit(pages).expect("one dim in an index"),
        None => SketchCoder::around(vec![0.0; dim]),
    }
}

/// What makes the sketches that can be joined with those of the segments `names`; `None` when there
/// are none, or they are damaged: the next maintenance codes all anew then.
fn coder(index: &Path, names: &[String]) -> Option<SketchCoder> {
    let first = open(index, &names[..names.len().min(1)]).ok()?;
    Some(SketchCoder::around(first.segments().first()?.mean().to_vec()))
}

pub(super) fn encode(coder: &SketchCoder, page: &PageVectors) -> (Int8Page, Sketch) {
    (Int8Page::encode(page), coder.encode(page).expect("one dim in an index"))
}
