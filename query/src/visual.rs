//! The ranking of pages by late interaction over their patches, in three ways.
//!
//! * [`scan`] reads everything: the full-precision vectors of all pages or, where an index has only
//!   those, their residual codes.
//! * [`certified`] reads int8 codes and, where their error may matter, full-precision vectors. The
//!   first ranks are exact.
//! * [`sketched`] reads sketches, and the codes of the pages that look best. An approximation.

mod background;
mod best;
mod certified;
mod error;
mod scan;
mod sketched;
mod work;

use std::borrow::Cow;

use pagesight_core::seam::{DocumentFilter, VectorSource};
use pagesight_core::{Found, QueryVectors};
use pagesight_maxsim::{Segment, Segments, Slot};

use crate::effort::Effort;
use crate::error::QueryError;
use crate::notice::Notice;
pub use background::Backgrounds;
pub(crate) use background::Correction;
use error::CodesError;
pub use work::{Code, Work};

/// How much of a ranking is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Depth {
    /// Pages.
    pub pages: usize,
    /// The first of them, whose ranks and scores are to be exact.
    pub certain: usize,
}

/// The pages of a ranking with their scores, best first, and what was done for it.
type Ranked = (Found, Work);

/// The best pages, ties by [`PageId`](pagesight_core::PageId), by MaxSim less what `correction`
/// takes off. Codes are derived:
/// where they are damaged the full-precision vectors of all pages answer, and the notice says so.
pub(crate) fn rank(
    source: &dyn VectorSource,
    codes: Option<&Segments>,
    query: &QueryVectors,
    depth: Depth,
    documents: DocumentFilter<'_>,
    effort: Effort,
    correction: Option<&Correction<'_>>,
) -> Result<(Ranked, Option<Notice>), QueryError> {
    let (mut codes, mut notice) = (codes, None);
    if let Some(coded) = codes.filter(|_| effort != Effort::Exact) {
        match rank_by_codes(coded, source, query, depth, documents, effort, correction) {
            Ok(ranked) => return Ok((ranked, None)),
            Err(CodesError::Failed(error)) => return Err(error),
            Err(CodesError::Damaged(reason)) => {
                (codes, notice) = (None, Some(Notice::CodesDamaged { reason }));
            }
        }
    }
    let background = correction.map(|correction| correction.of_vectors(codes)).transpose()?;
    Ok((scan::rank(source, query, depth.pages, documents, background.as_ref())?, notice))
}

/// The best pages, ties by [`PageId`](pagesight_core::PageId): as far as they are to be certain the
/// same as [`scan::rank`]
/// gives, unless `effort` leaves pages out.
fn rank_by_codes(
    codes: &Segments,
    source: &dyn VectorSource,
    query: &QueryVectors,
    depth: Depth,
    documents: DocumentFilter<'_>,
    effort: Effort,
    correction: Option<&Correction<'_>>,
) -> Result<Ranked, CodesError> {
    let background = correction.map(|correction| correction.of_codes(codes)).transpose()?.flatten();
    let background = background.as_ref();
    let slots = match documents {
        None => Cow::Borrowed(codes.living()),
        Some(within) => {
            let passes = |slot: &&Slot| within.contains(&slot.id.document);
            Cow::Owned(codes.living().iter().filter(passes).copied().collect())
        }
    };
    let all: usize = codes.segments().iter().map(Segment::len).sum();
    let bytes: usize = codes.segments().iter().map(Segment::bytes).sum();
    // A page of residual codes takes as long as one of int8, in half of the bytes.
    let bytes = bytes / all.max(1) * slots.len() * if codes.are_residual() { 2 } else { 1 };
    match effort.compared(slots.len(), bytes) {
        Some(count) => {
            let count = count.max(depth.pages);
            sketched::rank(codes, &slots, query, depth.pages, count, background)
        }
        None if codes.are_residual() => {
            scan::rank_by_residual(codes, &slots, query, depth.pages, background)
        }
        None => certified::rank(codes, &slots, source, query, depth, background),
    }
}

#[cfg(test)]
mod tests;
