//! A model of any family that sees a page in one piece: what is the same for all of them, around
//! what is the family's own.

use std::fmt::Debug;

use pagesight_core::seam::{BoxError, Model, PageEncoder, QueryEncoder};
use pagesight_core::{
    EncodedPage, Filter, ModelId, ModelRecord, PageImage, PageSize, PatchLayout, PictureSize,
    QueryVectors,
};
use rayon::prelude::*;

use crate::checkpoint::{Checkpoint, absolute};
use crate::device::Device;
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

    /// Encodes a page whose picture has its size.
    ///
    /// # Errors
    /// [`ModelError::ImageSize`] for a picture of another size than is asked for, and
    /// [`ModelError::QueryOnly`] when what sees pages was not loaded.
    fn encode_page(&self, page: &PageImage) -> Result<PageRows, ModelError>;

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
}

/// All vectors of a page, and where they stand.
pub struct PageRows {
    /// `[positions, dim]`.
    pub rows: Vec<f32>,
    /// Their places.
    pub layout: PatchLayout,
}

/// A model in memory.
#[derive(Debug)]
pub struct Retriever<N> {
    record: ModelRecord,
    vectors: VectorRecipe,
    /// What is the family's own.
    pub network: N,
}

/// Queries encoded at once.
const QUERIES_TOGETHER: usize = 32;

/// Refuses a GPU that was asked for by name, for a family that has no kernels for one.
///
/// # Errors
/// [`ModelError::DeviceFamily`].
pub fn on_the_cpu(options: &LoadOptions, family: &'static str) -> Result<(), ModelError> {
    match options.device {
        device @ (Device::Cuda | Device::Metal) => Err(ModelError::DeviceFamily { device, family }),
        _ => Ok(()),
    }
}

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
        Ok(Self { record, vectors, network })
    }

    fn encode_page(&self, page: &PageImage) -> Result<EncodedPage, ModelError> {
        let PageRows { rows, layout } = self.network.encode_page(page)?;
        self.vectors.kept(page, layout, self.record.dim, rows)
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

    /// Pages are encoded in parallel; a core without a page helps with another one.
    fn encode_pages(&self, pages: &[PageImage]) -> Result<Vec<EncodedPage>, BoxError> {
        let encoded = pages.par_iter().map(|page| self.encode_page(page));
        Ok(encoded.collect::<Result<Vec<_>, ModelError>>()?)
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
