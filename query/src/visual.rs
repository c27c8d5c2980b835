//! The ranking of pages by late interaction over their patches, in three ways.
//!
//! * [`scan`] reads everything: the full-precision vectors of all pages or, where an index has only
//!   those, their residual codes.
//! * [`certified`] reads int8 codes and, where their error may matter, full-precision vectors. The
//!   first ranks are exact.
//! * [`sketched`] reads sketches, and the codes of the pages that look best. An approximation.
//!
//! Where several machines have the codes, [`parted`] asks them for the same.

pub(crate) mod background;
pub(crate) mod best;
pub(crate) mod certified;
mod each;
pub(crate) mod error;
mod parted;
pub(crate) mod scan;
pub(crate) mod sketched;
mod work;

use std::borrow::Cow;

use pagesight_core::seam::{DocumentFilter, VectorSource};
use pagesight_core::{Found, PageId, QueryVectors, Scale};
use pagesight_maxsim::{Segments, Slot};

use crate::effort::Effort;
use crate::error::QueryError;
use crate::notice::Notice;
use crate::parts::joined::Joined;
pub use background::Backgrounds;
pub(crate) use background::Correction;
use certified::{Coded, Here, Located};
use error::CodesError;
use parted::Parted;
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

/// A ranking by int8 codes, of which it is not settled which ranks are certain.
pub(crate) enum Unsettled {
    /// Of the codes of this machine.
    Here(Coded<Located>),
    /// Of those of several.
    Parts(Coded<PageId>),
}

/// A ranking by late interaction to be made.
#[derive(Clone, Copy)]
pub(crate) struct Visual<'a> {
    pub source: &'a dyn VectorSource,
    pub codes: Option<&'a Segments>,
    /// What has the codes in their place.
    pub parts: Option<&'a Joined>,
    pub query: &'a QueryVectors,
    pub depth: Depth,
    pub documents: DocumentFilter<'a>,
    pub effort: Effort,
    pub correction: Option<&'a Correction<'a>>,
}

impl Visual<'_> {
    /// The best pages, ties by [`PageId`], by MaxSim less what the correction takes off. Codes are
    /// derived: where they are damaged the full-precision vectors of all pages answer, and the notice
    /// says so.
    pub fn rank(&self) -> Result<(Ranked, Option<Notice>), QueryError> {
        let (ranked, unsettled, notice) = self.rank_by_code()?;
        match unsettled {
            Some(coded) => self.settle(coded),
            None => Ok((ranked, notice)),
        }
    }

    /// The same, but where int8 codes rank, by these alone: which of them are certain is left to
    /// [`settle`](Self::settle), which reads full-precision vectors.
    pub fn rank_by_code(&self) -> Result<(Ranked, Option<Unsettled>, Option<Notice>), QueryError> {
        let ranked = match (self.codes, self.parts()) {
            _ if self.effort == Effort::Exact => None,
            (_, Some(parts)) => {
                let ranked = self.parted(parts).rank(self.depth, self.effort);
                Some(ranked.map(|(ranked, coded)| (ranked, coded.map(Unsettled::Parts))))
            }
            (Some(codes), None) => {
                let ranked = self.by_codes(codes);
                Some(ranked.map(|(ranked, coded)| (ranked, coded.map(Unsettled::Here))))
            }
            (None, None) => None,
        };
        match ranked {
            Some(Ok((ranked, unsettled))) => Ok((ranked, unsettled, None)),
            Some(Err(CodesError::Failed(error))) => Err(error),
            Some(Err(CodesError::Damaged(reason))) => {
                Ok((self.scan(None)?, None, Some(Notice::CodesDamaged { reason })))
            }
            None => Ok((self.scan(self.codes)?, None, None)),
        }
    }

    /// Makes the first ranks certain. Where the full-precision vectors are out of reach the codes have
    /// ranked, and the notice says so.
    pub fn settle(&self, unsettled: Unsettled) -> Result<(Ranked, Option<Notice>), QueryError> {
        let by_code = match &unsettled {
            Unsettled::Here(coded) => coded.by_code(),
            Unsettled::Parts(coded) => coded.by_code(),
        };
        let settled = match (unsettled, self.codes, self.parts()) {
            (Unsettled::Here(coded), Some(codes), _) => {
                coded.settle(&Here::new(codes, self.source, self.query))
            }
            (Unsettled::Parts(coded), _, Some(parts)) => coded.settle(&self.parted(parts)),
            (Unsettled::Here(coded), ..) => Ok(coded.by_code()),
            (Unsettled::Parts(coded), ..) => Ok(coded.by_code()),
        };
        match settled {
            Ok(ranked) => Ok((ranked, None)),
            Err(CodesError::Failed(error)) => match error.out_of_reach() {
                Some(reason) => Ok((by_code, Some(Notice::OutOfReach { reason }))),
                None => Err(error),
            },
            Err(CodesError::Damaged(reason)) => {
                Ok((self.scan(None)?, Some(Notice::CodesDamaged { reason })))
            }
        }
    }

    /// The parts, where they have codes.
    fn parts(&self) -> Option<&Joined> {
        self.parts.filter(|parts| parts.codes().is_some())
    }

    fn parted<'a>(&'a self, parts: &'a Joined) -> Parted<'a> {
        Parted::new(parts, self.query, self.documents, self.correction)
    }

    /// By the full-precision vectors of all pages. Codes that are not damaged know what is taken
    /// off.
    fn scan(&self, codes: Option<&Segments>) -> Result<Ranked, QueryError> {
        let background = self.correction.map(|correction| correction.of_vectors(codes));
        let background = background.transpose()?;
        let Self { source, query, depth, documents, .. } = *self;
        scan::rank(source, query, depth.pages, documents, background.as_ref())
    }

    /// By codes: as far as ranks are to be certain the same as [`scan`](Self::scan) gives once they
    /// are settled, unless the effort leaves pages out.
    fn by_codes(&self, codes: &Segments) -> Result<(Ranked, Option<Coded<Located>>), CodesError> {
        let Self { query, depth, documents, effort, correction, .. } = *self;
        let background = correction.map(|correction| correction.of_codes(codes));
        let background = background.transpose()?.flatten();
        let background = background.as_ref();
        let slots = within(codes, documents);
        let (all, bytes) = codes.extent();
        // A page of residual codes takes as long as one of int8, in half of the bytes.
        let bytes = bytes / all.max(1) * slots.len() * if codes.are_residual() { 2 } else { 1 };
        let ranked = match effort.compared(slots.len(), bytes) {
            Some(count) => {
                let count = count.max(depth.pages);
                sketched::rank(codes, &slots, query, depth.pages, count, background)?
            }
            None if codes.are_residual() => {
                scan::rank_by_residual(codes, &slots, query, depth.pages, background)?
            }
            None => {
                let coded = Coded::scan(codes, &slots, query, depth, background)?;
                return Ok((coded.by_code(), Some(coded)));
            }
        };
        Ok((ranked, None))
    }
}

/// The pages of `codes` that pass `documents`, in the order of the files.
pub(crate) fn within<'a>(codes: &'a Segments, documents: DocumentFilter<'_>) -> Cow<'a, [Slot]> {
    match documents {
        None => Cow::Borrowed(codes.living()),
        Some(within) => {
            let passes = |slot: &&Slot| within.contains(&codes.id(slot).document);
            Cow::Owned(codes.living().iter().filter(passes).copied().collect())
        }
    }
}

/// A ranking that was made.
fn ranked(pages: Vec<(PageId, f32)>, scale: Scale, work: Work) -> Ranked {
    (Found { pages, scale }, work)
}

#[cfg(test)]
mod tests;
