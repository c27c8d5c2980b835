//! The whole model: it turns pages and queries into multi-vectors.

use pagesight_core::seam::{BoxError, Model, PageEncoder, QueryEncoder};
use pagesight_core::{
    EncodedPage, ModelId, ModelRecord, PageImage, PageSize, PageVectors, PictureSize, QueryVectors,
};
use rayon::prelude::*;

use crate::checkpoint::{Checkpoint, absolute};
use crate::device::Device;
use crate::error::ModelError;
use crate::families::ink::printed;
use crate::families::neomme::config::{Config, Limits, Processor};
use crate::families::neomme::cpu::CpuModel;
use crate::families::neomme::names::FAMILY_NAME;
use crate::families::neomme::opened::Opened;
use crate::families::neomme::pictures::{fitted, patches, picture};
use crate::families::neomme::recipe::NeoMmeRecipe;
use crate::families::neomme::sequence::{Grid, Sequence};
use crate::families::neomme::tokens::Tokens;
use crate::options::LoadOptions;

/// A NeoMME in memory. All methods take `&self`, so threads can share it.
#[derive(Debug)]
pub struct NeoMme {
    record: ModelRecord,
    pub(super) config: Config,
    pub(super) processor: Processor,
    limits: Limits,
    pub(super) recipe: NeoMmeRecipe,
    pub(super) tokens: Tokens,
    pub(super) cpu: CpuModel,
}

impl NeoMme {
    /// Loads an opened checkpoint.
    ///
    /// # Errors
    /// [`ModelError`] with file and key for whatever is missing, left over, of another shape, cut
    /// off, or not this model's; [`ModelError::DeviceFamily`] for a GPU asked for by name.
    pub fn of(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Self, ModelError> {
        let device = options.device;
        if matches!(device, Device::Cuda | Device::Metal) {
            return Err(ModelError::DeviceFamily { device, family: FAMILY_NAME });
        }
        let Opened { config, processor, limits, weights, recipe, precision, tokens, id, .. } =
            Opened::read(checkpoint, options)?;
        let cpu = CpuModel::take(weights, precision, &config, options.query_only)?;
        let record = ModelRecord {
            id,
            dim: config.dim,
            source: Some(checkpoint.source().clone()),
            // A base that was found by its name is found again, so only a chosen one is remembered.
            base: options.base.as_ref().map(absolute).transpose()?,
            recipe: Some(recipe.to_json()),
            fusion: recipe.fusion,
            neutral: recipe.neutral.clone(),
        };
        Ok(Self { record, config, processor, limits, recipe, tokens, cpu })
    }

    /// Encodes a page whose picture has its size.
    fn encode_page(&self, page: &PageImage) -> Result<EncodedPage, ModelError> {
        let (width_px, height_px) = (page.width_px(), page.height_px());
        let asked = fitted(self.limits, PictureSize { width_px, height_px });
        if (asked.width_px, asked.height_px) != (width_px, height_px) {
            let expected = (asked.width_px, asked.height_px);
            return Err(ModelError::ImageSize { expected, got: (width_px, height_px) });
        }
        let patch = self.config.patch;
        let (grid, pixels) = patches(page, patch, &self.processor);
        let features = self.cpu.embed_patches(&pixels)?.to_rows();
        let sequence = Sequence::page(&self.tokens, grid);
        let rows = self.cpu.encode(&[sequence], &features)?;
        let rows = rows.flatten_all()?.to_vec1::<f32>()?;
        let (rows, places) = self.kept(page, grid, rows);
        let dim = self.config.dim;
        let pooled = self.recipe.pooler.pool(dim, &rows, self.recipe.pooling);
        let places: Vec<u32> =
            pooled.representatives.iter().map(|&row| places[row] as u32).collect();
        let mut vectors = PageVectors::from_f32(dim, &pooled.vectors)?;
        let layout = grid.layout(width_px, height_px, patch);
        if places.len() != layout.vectors() {
            vectors = vectors.with_places(places)?;
        }
        Ok(EncodedPage::new(vectors, layout)?)
    }

    /// The rows that the recipe keeps of a page, and their places.
    fn kept(&self, page: &PageImage, grid: Grid, rows: Vec<f32>) -> (Vec<f32>, Vec<usize>) {
        let Some(range) = self.recipe.prune_blank else {
            return (rows, (0..grid.positions()).collect());
        };
        let patches = printed(std::slice::from_ref(page), self.config.patch as u32, range);
        let places: Vec<usize> = patches[0].iter().map(|&patch| grid.place(patch)).collect();
        let dim = self.config.dim;
        let kept = places.iter().flat_map(|place| &rows[place * dim..][..dim]).copied().collect();
        (kept, places)
    }

    /// Encodes queries in one batch: the weights are read once for all of them.
    fn encode_together(&self, questions: &[&str]) -> Result<Vec<QueryVectors>, ModelError> {
        let queries = questions.iter().map(|question| self.tokens.query(&self.recipe, question));
        let queries = queries.collect::<Result<Vec<_>, _>>()?;
        let sequences: Vec<Sequence> =
            queries.iter().map(|query| Sequence::text(query.ids.clone())).collect();
        let rows = self.cpu.encode(&sequences, &[])?;
        let rows = rows.flatten_all()?.to_vec1::<f32>()?;
        let mut start = 0;
        let vectors = queries.into_iter().map(|query| {
            let end = start + query.ids.len() * self.config.dim;
            let rows = rows[start..end].to_vec();
            start = end;
            Ok(QueryVectors::new(self.config.dim, rows, query.tokens)?)
        });
        vectors.collect()
    }
}

/// Queries encoded at once.
const QUERIES_TOGETHER: usize = 32;

impl PageEncoder for NeoMme {
    fn model_id(&self) -> &ModelId {
        &self.record.id
    }

    fn dim(&self) -> usize {
        self.record.dim
    }

    /// A picture in the page's own shape, whose longest side is the longest that the model sees.
    fn picture(&self, page: PageSize) -> PictureSize {
        picture(self.limits, page)
    }

    /// Pages are encoded in parallel; a core without a page helps with another one.
    fn encode_pages(&self, pages: &[PageImage]) -> Result<Vec<EncodedPage>, BoxError> {
        let encoded = pages.par_iter().map(|page| self.encode_page(page));
        Ok(encoded.collect::<Result<Vec<_>, ModelError>>()?)
    }
}

impl QueryEncoder for NeoMme {
    fn encode_queries(&self, queries: &[&str]) -> Result<Vec<QueryVectors>, BoxError> {
        let mut vectors = Vec::with_capacity(queries.len());
        for queries in queries.chunks(QUERIES_TOGETHER) {
            vectors.extend(self.encode_together(queries)?);
        }
        Ok(vectors)
    }
}

impl Model for NeoMme {
    fn record(&self) -> ModelRecord {
        self.record.clone()
    }

    fn encodes_pages(&self) -> bool {
        !self.cpu.is_query_only()
    }
}
