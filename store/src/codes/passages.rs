//! The codes of passages: what a model of meaning gives for the text of a page, in int8.
//!
//! They lie in segments like those of pictures, two a commit: `N.passages` has a vector a passage,
//! `N.tokens` a vector a token. Both are derived from the text that is stored, so that they can be
//! made again without a PDF; a page's two entries come and go together.

use std::path::Path;

use pagesight_core::{DocumentId, EncodedPassages, PageId, PageVectors};
use pagesight_maxsim::{Int8Page, SegmentWriter, Segments, SketchCoder};
use rayon::prelude::*;

use super::segments::{create_named, open};
use crate::error::StoreError;
use crate::snapshot::contents::Passages;
use crate::snapshot::names::{POOLED, TOKENS};

/// The codes of the passages of a snapshot, mapped.
#[derive(Debug, Default)]
pub struct PassageCodes {
    /// A vector a passage.
    pub pooled: Segments,
    /// A vector a token, of the same pages.
    pub tokens: Segments,
}

impl PassageCodes {
    /// Maps the segments of `passages`.
    pub(crate) fn open(index: &Path, passages: &Passages) -> Result<Self, StoreError> {
        let pooled = open(index, &passages.pooled)?;
        Ok(Self { pooled, tokens: open(index, &passages.tokens)? })
    }

    /// The pages that are encoded.
    pub fn pages(&self) -> impl Iterator<Item = PageId> + '_ {
        self.pooled.ids()
    }
}

/// Adds the segments of commit `number` to `passages`: pages that are encoded, after the documents
/// `dropped`, whose passages of before are gone.
///
/// # Errors
/// What cannot be written.
pub(crate) fn write(
    index: &Path,
    number: u64,
    passages: &mut Passages,
    dropped: &[DocumentId],
    pages: &[(PageId, EncodedPassages)],
) -> Result<(), StoreError> {
    let pooled = pages.iter().map(|(id, page)| (*id, &page.pooled)).collect();
    let dim = passages.embedder.pooled_dim;
    let name = format!("{number}{POOLED}");
    write_one(index, &name, dim, dropped, pooled)?;
    passages.pooled.push(name);
    let tokens = pages.iter().map(|(id, page)| (*id, &page.tokens)).collect();
    let dim = passages.embedder.token_dim;
    let name = format!("{number}{TOKENS}");
    write_one(index, &name, dim, dropped, tokens)?;
    passages.tokens.push(name);
    Ok(())
}

fn write_one(
    index: &Path,
    name: &str,
    dim: usize,
    dropped: &[DocumentId],
    pages: Vec<(PageId, &PageVectors)>,
) -> Result<(), StoreError> {
    let (path, file) = create_named(index, name)?;
    // Nothing ranks passages by sketches, and a segment asks for one a page: the first row's.
    let coder = SketchCoder::around(vec![0.0; dim]);
    let write = || {
        let mut writer = SegmentWriter::new(file, &coder);
        dropped.iter().for_each(|&document| writer.drop_document(document));
        let code = |(id, page): (PageId, &PageVectors)| {
            let first = PageVectors::new(dim, page.values()[..dim].to_vec()).expect("a whole row");
            let sketch = coder.encode(&first).expect("of this dim");
            (id, Int8Page::encode(page), sketch)
        };
        let coded: Vec<_> = pages.into_par_iter().map(code).collect();
        for (id, code, sketch) in coded {
            writer.push(id, &code, &sketch)?;
        }
        writer.finish().map(drop)
    };
    write().map_err(StoreError::io("writing", &path))
}
