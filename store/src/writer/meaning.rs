//! The passages of pages, brought in step with their texts.
//!
//! They are derived: a commit that changes the text of a document drops its passages in the same
//! snapshot, and whoever runs the model adds those of the pages that have none, in steps that are
//! each published as a whole. Whatever ends a run in between, no snapshot has passages of a text that
//! is not the page's, and the next run goes on where this one ended.

use std::collections::{BTreeSet, HashSet};

use futures::TryStreamExt;
use pagesight_core::{DocumentId, EmbedderRecord, EncodedPassages, PageId};

use super::{AsyncWriter, FEW_FILES};
use crate::codes::passages::{PassageCodes, write};
use crate::codes::{damage, join};
use crate::error::StoreError;
use crate::lance::schema::{Rows, TEXT_COLUMNS};
use crate::lance::table::any_of;
use crate::snapshot::contents::Passages;

impl AsyncWriter {
    /// Says which model encodes passages, from now on and of all pages; `None` for an index without
    /// passages, which stays so until another call. Passages of another model go, and so do those
    /// that a search found damaged.
    ///
    /// # Errors
    /// What cannot be written.
    pub async fn set_embedder(&mut self, model: Option<EmbedderRecord>) -> Result<(), StoreError> {
        let marked = damage::are_passages_marked(&self.folder);
        let kept = self.snapshot.passages.clone().filter(|passages| {
            let is_whole = || PassageCodes::open(&self.folder, passages).is_ok();
            let same = model.as_ref().is_some_and(|model| model.id == passages.embedder.id);
            same && !marked && is_whole()
        });
        let no_passages = model.is_none();
        let passages = model.map(|embedder| match kept {
            // Where it is found may have changed.
            Some(kept) => Passages { embedder, ..kept },
            None => Passages::of(embedder),
        });
        if self.snapshot.passages == passages && self.snapshot.no_passages == no_passages {
            return Ok(());
        }
        if self.ledger.len() == 0 && passages.is_none() {
            // Of an index without documents there is nothing to take out: the first commit says it.
            (self.snapshot.passages, self.snapshot.no_passages) = (None, no_passages);
            return Ok(());
        }
        self.tables().await?;
        self.publish_passages(passages, no_passages).await?;
        damage::unmark_passages(&self.folder);
        Ok(())
    }

    /// The pages that have words and no passages, in order.
    ///
    /// # Errors
    /// What cannot be read.
    pub async fn pages_to_embed(&mut self) -> Result<Vec<PageId>, StoreError> {
        let Some(passages) = &self.snapshot.passages else { return Ok(Vec::new()) };
        let codes = PassageCodes::open(&self.folder, passages)?;
        let encoded: HashSet<PageId> = codes.pages().collect();
        let tables = self.tables().await?;
        let with_words = Some("text_source != 'none'".to_string());
        let mut stream = tables.pages.read(&["document", "number"], with_words).await?;
        let mut missing = BTreeSet::new();
        while let Some(batch) = stream.try_next().await? {
            let ids = Rows { batch: &batch, path: &tables.pages.path }.ids()?;
            missing.extend(ids.into_iter().filter(|id| !encoded.contains(id)));
        }
        Ok(missing.into_iter().collect())
    }

    /// The stored texts of `pages`, in any order; those of pages that are gone are left out.
    ///
    /// # Errors
    /// What cannot be read, and [`StoreError::DamagedPage`].
    pub async fn texts(&mut self, pages: &[PageId]) -> Result<Vec<(PageId, String)>, StoreError> {
        let wanted: HashSet<PageId> = pages.iter().copied().collect();
        let tables = self.tables().await?;
        let mut found = Vec::with_capacity(pages.len());
        let documents: BTreeSet<String> =
            pages.iter().map(|page| page.document.to_string()).collect();
        let numbers: BTreeSet<u32> = pages.iter().map(|page| page.number).collect();
        let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        for filter in any_of("document", &documents) {
            let filter = format!("{filter} AND number IN ({})", numbers.join(", "));
            let mut stream = tables.pages.read(&TEXT_COLUMNS, Some(filter)).await?;
            while let Some(batch) = stream.try_next().await? {
                let rows = Rows { batch: &batch, path: &tables.pages.path }.pages()?;
                let rows = rows.into_iter().filter(|page| wanted.contains(&page.id));
                found.extend(rows.map(|page| (page.id, page.text)));
            }
        }
        Ok(found)
    }

    /// Adds passages of pages that have none, durably.
    ///
    /// # Errors
    /// [`StoreError::OtherDim`] when they are not of the index's model, and what cannot be written;
    /// the index is as it was.
    pub async fn add_passages(
        &mut self,
        pages: &[(PageId, EncodedPassages)],
    ) -> Result<(), StoreError> {
        let Some(mut passages) = self.snapshot.passages.clone().filter(|_| !pages.is_empty())
        else {
            return Ok(());
        };
        let EmbedderRecord { pooled_dim, token_dim, .. } = passages.embedder;
        for (_, page) in pages {
            for (expected, got) in [(pooled_dim, page.pooled.dim()), (token_dim, page.tokens.dim())]
            {
                if expected != got {
                    let path = self.folder.clone();
                    return Err(StoreError::OtherDim { path, expected, got });
                }
            }
        }
        self.tables().await?;
        let number = self.snapshot.number + 1;
        let bytes =
            |page: &EncodedPassages| page.pooled.values().len() + page.tokens.values().len();
        let needed = pages.iter().map(|(_, page)| bytes(page) as u64 * 5 / 4 + 512).sum();
        let written = write(&self.folder, number, &mut passages, &[], pages);
        let outcome = match written {
            Ok(()) => self.publish_passages(Some(passages), false).await,
            Err(error) => Err(error),
        };
        outcome.map_err(|error| {
            self.open = None;
            self.with_space(error, needed)
        })
    }

    /// Leaves out the passages of `documents`, in the snapshot that is published next.
    pub(super) fn drop_passages(
        &mut self,
        documents: &HashSet<DocumentId>,
    ) -> Result<(), StoreError> {
        let Some(passages) = self.snapshot.passages.as_mut().filter(|_| !documents.is_empty())
        else {
            return Ok(());
        };
        let Ok(codes) = PassageCodes::open(&self.folder, passages) else {
            // Damaged: the next run begins anew.
            *passages = Passages::of(passages.embedder.clone());
            return Ok(());
        };
        let encoded: HashSet<DocumentId> = codes.pages().map(|page| page.document).collect();
        let mut stale: Vec<DocumentId> = documents.intersection(&encoded).copied().collect();
        if stale.is_empty() {
            return Ok(());
        }
        stale.sort_unstable();
        write(&self.folder, self.snapshot.number + 1, passages, &stale, &[])
    }

    /// Whether passages lie in many segments.
    pub(super) fn passages_need_joining(&self) -> bool {
        let files = |passages: &Passages| passages.pooled.len().max(passages.tokens.len());
        self.snapshot.passages.as_ref().is_some_and(|passages| files(passages) > FEW_FILES)
    }

    /// Joins small segments of passages, in the snapshot that is published next.
    pub(super) fn join_passages(&mut self) -> Result<(), StoreError> {
        let number = self.snapshot.number + 1;
        let Some(passages) = &mut self.snapshot.passages else { return Ok(()) };
        if passages.pooled.is_empty() {
            return Ok(());
        }
        let joined = join::join(&self.folder, &passages.pooled, number)
            .and_then(|pooled| Ok((pooled, join::join(&self.folder, &passages.tokens, number)?)));
        match joined {
            Ok((pooled, tokens)) => (passages.pooled, passages.tokens) = (pooled, tokens),
            // They are derived: the next run encodes the texts again.
            Err(StoreError::Codes { .. }) => *passages = Passages::of(passages.embedder.clone()),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn publish_passages(
        &mut self,
        passages: Option<Passages>,
        no_passages: bool,
    ) -> Result<(), StoreError> {
        let before = (self.snapshot.passages.take(), self.snapshot.no_passages);
        (self.snapshot.passages, self.snapshot.no_passages) = (passages, no_passages);
        let outcome = self.publish().await;
        if outcome.is_err() {
            (self.snapshot.passages, self.snapshot.no_passages) = before;
            self.open = None;
        }
        outcome
    }
}
