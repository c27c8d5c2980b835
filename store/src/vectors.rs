//! The stored multi-vectors of an index, a batch at a time, from wherever it keeps them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use pagesight_core::seam::DocumentFilter;
use pagesight_core::{DocumentId, PageId, PageVectors};
use rayon::prelude::*;

use crate::codes::residual::Residuals;
use crate::error::StoreError;
use crate::lance::schema::{Rows, VECTOR_COLUMNS};
use crate::lance::table::{LanceTable, RowStream, document_filter};

/// Pages whose residual codes are read at a time.
const DECODED: usize = 64;

/// Multi-vectors on their way in.
pub(crate) struct VectorStream {
    source: Source,
    /// The table, or the index.
    path: PathBuf,
    within: Option<HashSet<DocumentId>>,
}

enum Source {
    Table(RowStream),
    /// From this page on.
    Codes {
        residuals: Arc<Residuals>,
        next: usize,
    },
}

impl VectorStream {
    /// Those in `table`.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn of_table(
        table: &LanceTable,
        filter: DocumentFilter<'_>,
    ) -> Result<Self, StoreError> {
        // Rows without vectors are read too: that there are none is a part of the checksum.
        let stream = table.read(&VECTOR_COLUMNS, document_filter(filter)).await?;
        let (source, path) = (Source::Table(stream), table.path.clone());
        Ok(Self { source, path, within: filter.cloned() })
    }

    /// Those of the compact index in `folder`.
    pub fn of_codes(residuals: Arc<Residuals>, folder: &Path, filter: DocumentFilter<'_>) -> Self {
        let (source, path) = (Source::Codes { residuals, next: 0 }, folder.to_path_buf());
        Self { source, path, within: filter.cloned() }
    }

    /// The next batch, which may be empty; `None` at the end.
    ///
    /// # Errors
    /// When a page cannot be read or its checksum is wrong.
    pub async fn next(&mut self) -> Result<Option<Vec<(PageId, PageVectors)>>, StoreError> {
        let within = |id: &PageId| match &self.within {
            Some(within) => within.contains(&id.document),
            None => true,
        };
        match &mut self.source {
            Source::Table(stream) => {
                let Some(batch) = stream.try_next().await? else { return Ok(None) };
                let mut pages = Rows { batch: &batch, path: &self.path }.vectors()?;
                pages.retain(|(id, _)| within(id));
                Ok(Some(pages))
            }
            Source::Codes { residuals, next } => {
                let living = &residuals.segments.living()[*next..];
                if living.is_empty() {
                    return Ok(None);
                }
                let some = &living[..living.len().min(DECODED)];
                *next += some.len();
                let some: Vec<PageId> =
                    some.iter().map(|slot| residuals.segments.id(slot)).filter(within).collect();
                let page = |&id: &PageId| Some((id, residuals.vectors(&self.path, id)?));
                let pages: Vec<_> = some.par_iter().filter_map(page).collect();
                let pages = pages.into_iter().map(|(id, vectors)| Ok((id, vectors?)));
                pages.collect::<Result<_, _>>().map(Some)
            }
        }
    }
}
