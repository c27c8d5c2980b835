//! The segment of one commit: the codes of the pages that it adds, and the documents that it drops.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use pagesight_core::{DocumentId, PageId, PageRecord, PageVectors};
use pagesight_maxsim::{
    Background, Instructions, Int8Page, Neutral, ResidualCoder, SegmentWriter, Sketch, SketchCoder,
};
use rayon::prelude::*;

use super::residual::only_copy;
use super::segments::{create, map, name, open};
use crate::error::StoreError;

/// Pages that are coded at once and then written: all cores have work, and no batch is in memory a
/// second time as a whole.
const CODED: usize = 16;

/// Why lengths of rows are not looked at here: a commit has.
const DIMS: &str = "one dim in an index";

/// Pages that the mean of the first sketches is taken of, and the centres of residual codes.
pub(super) const SAMPLE: usize = 256;

/// Writes the segment of commit `number`, after the segments `names`: `dropped` documents and the
/// vectors of `pages`, with what they give to `neutral` questions, and sketches by the coder that is
/// given, else by that of the index; of a `compact` index in residual codes. `None` when there is nothing to say.
pub(crate) fn write(
    index: &Path,
    number: u64,
    (dim, neutral, sketches): (usize, Option<&Neutral>, Option<&SketchCoder>),
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
        return write_residual(index, number, neutral, names, dropped, &coded).map(Some);
    }
    let fit = || fit(dim, coded.iter().map(|&(_, page)| page));
    let coder = sketches.cloned().or_else(|| coder(index, names)).unwrap_or_else(fit);
    let (path, file) = create(index, number)?;
    let write = || {
        let mut writer = SegmentWriter::new(file, &coder);
        dropped.iter().for_each(|&document| writer.drop_document(document));
        for some in coded.chunks(CODED) {
            let code = |&(id, page): &(PageId, &PageVectors)| (id, encode(&coder, neutral, page));
            for (id, coded) in some.par_iter().map(code).collect::<Vec<_>>() {
                push(&mut writer, id, &coded)?;
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
    neutral: Option<&Neutral>,
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
            push_residual(&mut writer, coder, &sketches, neutral, some)?;
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
    neutral: Option<&Neutral>,
    pages: &[(PageId, &PageVectors)],
) -> io::Result<()> {
    // By the codes, which are all that there will be to measure it by again.
    let laid_out = neutral.map(|neutral| {
        (neutral, coder.query(Instructions::best(), &[neutral.vectors()]).expect(DIMS))
    });
    let code = |&(_, page): &(PageId, &PageVectors)| {
        let (code, sketch) = (coder.encode(page).expect(DIMS), sketches.encode(page).expect(DIMS));
        let background = laid_out
            .as_ref()
            .map(|(neutral, questions)| neutral.of_score(questions.score(&code).expect(DIMS)));
        (code, sketch, background)
    };
    let coded: Vec<_> = pages.par_iter().map(code).collect();
    for ((id, page), (code, sketch, background)) in pages.iter().zip(coded) {
        writer.push_residual(*id, &code, page.places(), &sketch)?;
        background.into_iter().for_each(|measured| writer.set_background(measured));
    }
    Ok(())
}

/// What makes the sketches of an index whose first pages are `pages`.
pub(crate) fn fit<'a>(dim: usize, pages: impl IntoIterator<Item = &'a PageVectors>) -> SketchCoder {
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

/// A page in codes, and what it gives to neutral questions.
pub(super) struct Coded {
    code: Int8Page,
    sketch: Sketch,
    background: Option<Background>,
}

/// Codes `page`, and measures what it gives to `neutral` questions.
pub(super) fn encode(coder: &SketchCoder, neutral: Option<&Neutral>, page: &PageVectors) -> Coded {
    let (code, sketch) = (Int8Page::encode(page), coder.encode(page).expect(DIMS));
    let by_code = |neutral: &Neutral| neutral.measure_code(&(&code).into()).expect(DIMS);
    let background = neutral.map(by_code);
    Coded { code, sketch, background }
}

/// Adds a page that is coded.
pub(super) fn push(
    writer: &mut SegmentWriter<BufWriter<File>>,
    id: PageId,
    page: &Coded,
) -> io::Result<()> {
    writer.push(id, &page.code, &page.sketch)?;
    page.background.into_iter().for_each(|measured| writer.set_background(measured));
    Ok(())
}
