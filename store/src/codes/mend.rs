//! The codes of pages that were lost, made again as a segment that takes the place of all that earlier ones
//! have of the same documents.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use pagesight_core::{DocumentId, PageId, PageVectors};
use pagesight_maxsim::{Neutral, Segment, SegmentWriter, SketchCoder};
use rayon::prelude::*;

use super::write::{encode, push};
use crate::error::StoreError;

/// A segment in the making.
pub(crate) struct Mending<'a> {
    path: &'a Path,
    coder: &'a SketchCoder,
    writer: SegmentWriter<BufWriter<File>>,
}

impl<'a> Mending<'a> {
    /// Makes the file at `path`, in which sketches are around `coder`. What earlier segments have of
    /// `documents` does not count any more.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn create(
        path: &'a Path,
        coder: &'a SketchCoder,
        documents: impl IntoIterator<Item = DocumentId>,
    ) -> Result<Self, StoreError> {
        let file = File::create(path).map_err(StoreError::io("writing", path))?;
        let mut writer = SegmentWriter::new(BufWriter::new(file), coder);
        documents.into_iter().for_each(|document| writer.drop_document(document));
        Ok(Self { path, coder, writer })
    }

    /// Copies page `index` of `segment`.
    ///
    /// # Errors
    /// [`StoreError::Codes`] when it is damaged or around another mean; what cannot be written.
    pub fn copy(&mut self, segment: &Segment, index: usize) -> Result<(), StoreError> {
        self.writer.copy(segment, index).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => {
                StoreError::Codes { path: self.path.into(), source: error.into() }
            }
            _ => StoreError::io("writing", self.path)(error),
        })
    }

    /// Codes `pages`, and measures what they give to `neutral` questions.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn derive(
        &mut self,
        neutral: Option<&Neutral>,
        pages: &[(PageId, PageVectors)],
    ) -> Result<(), StoreError> {
        let code = |(id, page): &(PageId, PageVectors)| (*id, encode(self.coder, neutral, page));
        for (id, coded) in pages.par_iter().map(code).collect::<Vec<_>>() {
            push(&mut self.writer, id, &coded).map_err(StoreError::io("writing", self.path))?;
        }
        Ok(())
    }

    /// Writes its end.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn finish(self) -> Result<(), StoreError> {
        self.writer.finish().map(drop).map_err(StoreError::io("writing", self.path))
    }
}
