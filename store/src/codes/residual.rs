//! Residual codes: in a compact index the only copy of the vectors.

use std::collections::HashMap;
use std::path::Path;

use pagesight_core::{PageId, PageVectors};
use pagesight_maxsim::{HereError, SegmentError, Segments};

use crate::error::StoreError;
use crate::snapshot::names::CODES;

/// The error of a compact index, where damage to codes is damage to the index.
pub(crate) fn only_copy(error: StoreError) -> StoreError {
    match error {
        StoreError::Codes { path, source } => {
            StoreError::DamagedFile { path, what: source.to_string() }
        }
        other => other,
    }
}

/// The vectors of a compact index, from its codes.
pub(crate) struct Residuals {
    pub segments: Segments,
    slots: HashMap<PageId, usize>,
}

impl Residuals {
    /// In these segments.
    pub fn over(segments: Segments) -> Self {
        let slots = segments.ids().enumerate().map(|(n, id)| (id, n)).collect();
        Self { segments, slots }
    }

    /// Whether page `id` has vectors.
    pub fn has(&self, id: PageId) -> bool {
        self.slots.contains_key(&id)
    }

    /// The vectors of page `id`; `None` when it has none.
    pub fn vectors(&self, index: &Path, id: PageId) -> Option<Result<PageVectors, StoreError>> {
        let slot = &self.segments.living()[*self.slots.get(&id)?];
        let damaged = |error: SegmentError| StoreError::DamagedPage {
            path: index.join(CODES),
            page: id,
            what: error.to_string(),
        };
        let here = self.segments.here(std::slice::from_ref(slot)).map_err(|error| match error {
            HereError::Damaged(error) => damaged(error),
            error => StoreError::Codes { path: index.join(CODES), source: Box::new(error) },
        });
        Some(here.and_then(|here| here.vectors(slot).map_err(damaged)))
    }
}
