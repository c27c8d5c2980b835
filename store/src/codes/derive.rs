//! Codes of all pages at once, from the vectors in the tables.

use std::path::Path;

use pagesight_core::{PageId, PageVectors};
use pagesight_maxsim::{Bits, Neutral, ResidualCoder, SegmentWriter, SketchCoder};
use rayon::prelude::*;

use super::segments::{create, name};
use super::write::{SAMPLE, encode, fit, push, push_residual};
use crate::error::StoreError;
use crate::vectors::VectorStream;

/// Bits a number of residual codes.
const BITS: Bits = Bits::Four;

/// Codes all vectors of the tables anew, as commit `number`, and measures what their pages give to
/// `neutral` questions.
pub(crate) async fn derive(
    index: &Path,
    number: u64,
    (dim, neutral): (usize, Option<&Neutral>),
    mut vectors: VectorStream,
) -> Result<Vec<String>, StoreError> {
    let mut next = vectors.next().await?;
    while next.as_ref().is_some_and(Vec::is_empty) {
        next = vectors.next().await?;
    }
    let Some(first) = &next else { return Ok(Vec::new()) };
    let coder = fit(dim, first.iter().map(|(_, page)| page));
    let (path, file) = create(index, number)?;
    let writing = || StoreError::io("writing", &path);
    let mut writer = SegmentWriter::new(file, &coder);
    while let Some(pages) = next {
        let code = |(id, page): &(PageId, PageVectors)| (*id, encode(&coder, neutral, page));
        for (id, coded) in pages.par_iter().map(code).collect::<Vec<_>>() {
            push(&mut writer, id, &coded).map_err(writing())?;
        }
        next = vectors.next().await?;
    }
    writer.finish().map_err(writing())?;
    Ok(vec![name(number)])
}

/// Codes all vectors of the tables in residual codes, as commit `number`; they are read twice, the
/// first time for a sample of `pages`, as many as there are. `None` when there are no vectors.
pub(crate) async fn compact(
    index: &Path,
    number: u64,
    (pages, neutral): (u64, Option<&Neutral>),
    mut once: VectorStream,
    mut again: VectorStream,
) -> Result<Option<String>, StoreError> {
    let every = (pages as usize).div_ceil(SAMPLE).max(1);
    let (mut sample, mut seen) = (Vec::new(), 0usize);
    while let Some(batch) = once.next().await? {
        for (_, page) in batch {
            if seen.is_multiple_of(every) {
                sample.push(page);
            }
            seen += 1;
        }
    }
    if sample.is_empty() {
        return Ok(None);
    }
    let dims = "one dim in an index";
    let sketches = SketchCoder::fit(&sample).expect(dims);
    let coder = ResidualCoder::fit(BITS, &sample).expect(dims);
    drop(sample);
    let (path, file) = create(index, number)?;
    let writing = || StoreError::io("writing", &path);
    let mut writer = SegmentWriter::residual(file, &sketches, coder.clone());
    while let Some(batch) = again.next().await? {
        let batch: Vec<_> = batch.iter().map(|(id, page)| (*id, page)).collect();
        push_residual(&mut writer, &coder, &sketches, neutral, &batch).map_err(writing())?;
    }
    writer.finish().map_err(writing())?;
    Ok(Some(name(number)))
}
