//! A model of any family that sees a page in one piece: what is the same for all of them, around
//! what is the family's own.

use std::fmt::Debug;

use candle_core::{Result as CandleResult, Tensor};
use pagesight_core::seam::{BoxError, Model, PageEncoder, QueryEncoder};
use pagesight_core::{
    EncodedPage, Filter, ModelId, ModelRecord, PageImage, PageSize, PatchLayout, PictureSize,
    QueryVectors,
};
use rayon::prelude::*;

use crate::checkpoint::{Checkpoint, absolute};
use crate::error::ModelError;
use crate::families::vector_recipe::VectorRecipe;
use crate::families::whole_page::WholePageRecipe;
use crate::options::LoadOptions;
use crate::text::Query;

/// What a family does with pictures and words. All methods take `&self`, so threads can share it.
pub trait Network: Debug + Send + Sync {
    /// What the reference resizes pictures with.
    const FILTER: Filter;

    /// The picture that a page is drawn into.
    fn picture(&self, page: PageSize) -> PictureSize;

    /// Pages as the model reads them.
    type Batch<'a>: Send
    where
        Self: 'a;

    /// What the CPU makes of pages before they are encoded. A GPU encodes other pages meanwhile.
    ///
    /// # Errors
    /// [`ModelError::ImageSize`] for a picture of another size than is asked for.
    fn batch<'a>(&'a self, pages: &'a [PageImage]) -> Result<Self::Batch<'a>, ModelError>;

    /// Encodes a batch, a GPU all of its pages at once.
    ///
    /// # Errors
    /// [`ModelError::QueryOnly`] when what sees pages was not loaded; [`ModelError::Compute`].
    fn encode(&self, batch: Self::Batch<'_>) -> Result<Vec<PageRows>, ModelError>;

    /// Encodes pages whose pictures have their sizes, in one batch.
    ///
    /// # Errors
    /// Those of [`batch`](Self::batch) and [`encode`](Self::encode).
    fn encode_pages(&self, pages: &[PageImage]) -> Result<Vec<PageRows>, ModelError> {
        self.encode(self.batch(pages)?)
    }

    /// Tokenizes a question with what the recipe puts around it.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    fn query(&self, question: &str) -> Result<Query, ModelError>;

    /// Encodes texts, given by their ids, to their vectors one after the other, `[sum of tokens,
    /// dim]`. The weights are read once for all of them.
    ///
    /// # Errors
    /// [`ModelError`] for ids that the model lacks.
    fn encode_texts(&self, texts: &[&[u32]]) -> Result<Vec<f32>, ModelError>;

    /// Whether it was loaded for queries alone.
    fn is_query_only(&self) -> bool;

    /// Whether several pages at once are faster than one after the other; see
    /// [`Engine`](crate::families::engine::Engine).
    fn is_faster_with_several(&self) -> bool;
}

/// All vectors of a page, and where they stand.
pub struct PageRows {
    /// `[positions, dim]`.
    pub rows: Vec<f32>,
    /// Their places.
    pub layout: PatchLayout,
}

impl PageRows {
    /// Those of pages that were encoded together: `rows` has the vectors of all places of the first
    /// page, `[positions, dim]`, then those of the second, and so on.
    pub fn of_each(mut rows: &[f32], dim: usize, layouts: Vec<PatchLayout>) -> Vec<Self> {
        let pages = layouts.into_iter().map(|layout| {
            let (of_page, others) = rows.split_at(layout.vectors() * dim);
            rows = others;
            (of_page, layout)
        });
        let pages: Vec<(&[f32], PatchLayout)> = pages.collect();
        let pages = pages.into_par_iter();
        pages.map(|(rows, layout)| Self { rows: rows.to_vec(), layout }).collect()
    }

    /// The same, of the rows of a tensor, which come from a GPU in one piece.
    ///
    /// # Errors
    /// When it has no f32, or the GPU fails.
    pub fn of_tensor(
        rows: &Tensor,
        dim: usize,
        layouts: Vec<PatchLayout>,
    ) -> CandleResult<Vec<Self>> {
        Ok(Self::of_each(&rows.flatten_all()?.to_vec1()?, dim, layouts))
    }
}

/// A model in memory.
#[derive(Debug)]
pub struct Retriever<N> {
    record: ModelRecord,
    vectors: VectorRecipe,
    /// Pages that a GPU encodes at once.
    gpu_pages: usize,
    /// What is the family's own.
    pub network: N,
}

/// Queries encoded at once.
const QUERIES_TOGETHER: usize = 32;

impl<N: Network> Retriever<N> {
    /// A model of `checkpoint`, whose vectors have `dim` numbers.
    ///
    /// # Errors
    /// [`ModelError::Io`] when a chosen base has no absolute path.
    pub fn new(
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        id: ModelId,
        dim: usize,
        recipe: &impl WholePageRecipe,
        network: N,
    ) -> Result<Self, ModelError> {
        let vectors = recipe.vectors().clone();
        let record = ModelRecord {
            id,
            dim,
            source: Some(checkpoint.source().clone()),
            // A base that was found by its name is found again, so only a chosen one is remembered.
            base: options.base.as_ref().map(absolute).transpose()?,
            recipe: Some(recipe.to_json()),
            fusion: vectors.fusion,
            neutral: vectors.neutral.clone(),
        };
        Ok(Self { record, vectors, gpu_pages: options.on_a_gpu_at_once(), network })
    }

    /// Encodes pages in batches for a GPU. While it has one, the CPU prepares the next and finishes
    /// the one before.
    fn encode_in_batches(&self, pages: &[PageImage]) -> Result<Vec<EncodedPage>, ModelError> {
        let mut finished = Vec::with_capacity(pages.len());
        let mut batches = pages.chunks(at_once(pages.len(), self.gpu_pages));
        let prepare = |pages| (pages, self.network.batch(pages));
        let mut next = batches.next().map(prepare);
        let mut before = None;
        while let Some((pages, batch)) = next {
            let (batch, following, encoded) = (batch?, batches.next(), before.take());
            let finish = || encoded.map(|(pages, rows)| self.finish(pages, rows)).transpose();
            let (rows, (kept, prepared)) = rayon::join(
                || self.network.encode(batch),
                || rayon::join(finish, || following.map(prepare)),
            );
            finished.extend(kept?.into_iter().flatten());
            before = Some((pages, rows?));
            next = prepared;
        }
        let last = before.map(|(pages, rows)| self.finish(pages, rows)).transpose()?;
        finished.extend(last.into_iter().flatten());
        Ok(finished)
    }

    /// Keeps of the vectors of pages what the recipe keeps.
    fn finish(
        &self,
        pages: &[PageImage],
        rows: Vec<PageRows>,
    ) -> Result<Vec<EncodedPage>, ModelError> {
        let kept = pages.par_iter().zip(rows).map(|(page, PageRows { rows, layout })| {
            self.vectors.kept(page, layout, self.record.dim, rows)
        });
        kept.collect()
    }

    /// Encodes queries in one batch.
    fn encode_together(&self, questions: &[&str]) -> Result<Vec<QueryVectors>, ModelError> {
        let queries = questions.iter().map(|question| self.network.query(question));
        let queries = queries.collect::<Result<Vec<_>, _>>()?;
        let texts: Vec<&[u32]> = queries.iter().map(|query| query.ids.as_slice()).collect();
        let rows = self.network.encode_texts(&texts)?;
        let (dim, mut start) = (self.record.dim, 0);
        let vectors = queries.into_iter().map(|query| {
            let end = start + query.ids.len() * dim;
            let rows = rows[start..end].to_vec();
            start = end;
            Ok(QueryVectors::new(dim, rows, query.tokens)?)
        });
        vectors.collect()
    }
}

/// Pages of a batch, of so many in all and so many at most in one. Where there are enough, there are
/// two batches or more, so that the CPU finishes one while a GPU encodes the next.
fn at_once(pages: usize, most: usize) -> usize {
    /// Fewer do not keep a GPU busy.
    const LEAST: usize = 4;
    if pages < 2 * LEAST { most } else { most.min(pages.div_ceil(2)) }
}

impl<N: Network> PageEncoder for Retriever<N> {
    fn model_id(&self) -> &ModelId {
        &self.record.id
    }

    fn dim(&self) -> usize {
        self.record.dim
    }

    /// A picture in the page's own shape.
    fn picture(&self, page: PageSize) -> PictureSize {
        self.network.picture(page)
    }

    fn filter(&self) -> Filter {
        N::FILTER
    }

    /// On the CPU pages are encoded in parallel; a core without a page helps with another one. A GPU
    /// gets several pages at once.
    fn encode_pages(&self, pages: &[PageImage]) -> Result<Vec<EncodedPage>, BoxError> {
        if self.network.is_faster_with_several() {
            return Ok(self.encode_in_batches(pages)?);
        }
        let encoded = pages.par_chunks(1).map(|page| {
            let rows = self.network.encode_pages(page)?;
            self.finish(page, rows)
        });
        let encoded = encoded.collect::<Result<Vec<_>, ModelError>>()?;
        Ok(encoded.into_iter().flatten().collect())
    }
}

impl<N: Network> QueryEncoder for Retriever<N> {
    fn encode_queries(&self, queries: &[&str]) -> Result<Vec<QueryVectors>, BoxError> {
        let mut vectors = Vec::with_capacity(queries.len());
        for queries in queries.chunks(QUERIES_TOGETHER) {
            vectors.extend(self.encode_together(queries)?);
        }
        Ok(vectors)
    }
}

impl<N: Network> Model for Retriever<N> {
    fn record(&self) -> ModelRecord {
        self.record.clone()
    }

    fn encodes_pages(&self) -> bool {
        !self.network.is_query_only()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_pages_become_batches_of_one_size_and_few_stay_together() {
        for (pages, most, expected) in [
            (1, 4, 4),
            (7, 16, 16),
            (8, 16, 4),
            (8, 4, 4),
            (9, 16, 5),
            (16, 16, 8),
            (20, 16, 10),
            (64, 16, 16),
            (64, 1, 1),
        ] {
            assert_eq!(at_once(pages, most), expected, "{pages} pages, {most} at most");
        }
    }

    #[test]
    fn rows_are_split_among_pages_in_order() {
        use pagesight_core::Run;
        let layouts = [2, 1, 3].map(|count| PatchLayout::new(vec![Run::Text(count)]));
        let rows: Vec<f32> = (0..12).map(|n| n as f32).collect();
        let tensor = Tensor::from_vec(rows.clone(), (6, 2), &candle_core::Device::Cpu).unwrap();
        let pages = PageRows::of_tensor(&tensor, 2, layouts.to_vec()).unwrap();
        let got: Vec<&[f32]> = pages.iter().map(|page| page.rows.as_slice()).collect();
        assert_eq!(got, [&rows[..4], &rows[4..6], &rows[6..]]);
        let part = tensor.narrow(0, 2, 4).unwrap();
        let pages = PageRows::of_tensor(&part, 2, layouts[1..].to_vec()).unwrap();
        assert_eq!(pages[1].rows, rows[6..]);
    }
}
