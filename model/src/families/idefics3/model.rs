//! The whole model: it turns pages and queries into multi-vectors.

use candle_core::{Result as CandleResult, Tensor};
use pagesight_core::{Filter, PageImage, PageSize, PictureSize};
use rayon::prelude::*;

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::idefics3::config::Config;
use crate::families::idefics3::cpu::CpuModel;
use crate::families::idefics3::opened::OpenedTiles;
use crate::families::idefics3::processor::Processor;
use crate::families::idefics3::recipe::TilesRecipe;
use crate::families::idefics3::sequence::Sequence;
use crate::families::idefics3::tiles::{fitted, picture, tiles};
use crate::families::idefics3::tokens::Tokens;
use crate::families::opened::Opened;
use crate::families::retriever::{Network, PageRows, Retriever, on_the_cpu};
use crate::options::LoadOptions;
use crate::text::Query;

/// A ColModernVBERT or a ColSmol in memory.
#[derive(Debug)]
pub struct TilesModel {
    pub config: Config,
    pub processor: Processor,
    /// The longest side that a page is brought to, px.
    pub longest: u32,
    pub recipe: TilesRecipe,
    pub tokens: Tokens,
    pub cpu: CpuModel,
}

/// Loads an opened checkpoint.
///
/// # Errors
/// [`ModelError`] with file and key for whatever is missing, left over, of another shape, cut off,
/// or not this model's; [`ModelError::DeviceFamily`] for a GPU asked for by name.
pub fn load(
    checkpoint: &Checkpoint,
    options: &LoadOptions,
) -> Result<Retriever<TilesModel>, ModelError> {
    let OpenedTiles { config, processor, longest, tokens, opened, id } =
        OpenedTiles::read(checkpoint, options)?;
    on_the_cpu(options, config.family)?;
    let Opened { weights, recipe, precision, .. } = opened;
    let cpu = CpuModel::take(weights, precision, &config, options.query_only)?;
    let (dim, kept) = (config.dim, recipe.clone());
    let network = TilesModel { config, processor, longest, recipe, tokens, cpu };
    Retriever::new(checkpoint, options, id, dim, &kept, network)
}

impl TilesModel {
    /// The numbers of tiles, `[3, edge, edge]` each.
    pub fn pixels(&self, tiles: &[PageImage]) -> CandleResult<Vec<Tensor>> {
        tiles.par_iter().map(|tile| self.processor.normalisation.pixel_values(tile)).collect()
    }
}

impl Network for TilesModel {
    const FILTER: Filter = Processor::FILTER;

    /// A picture in the page's own shape with the longest side of the recipe. The model stretches it
    /// to whole tiles.
    fn picture(&self, page: PageSize) -> PictureSize {
        picture(self.longest, page)
    }

    fn encode_page(&self, page: &PageImage) -> Result<PageRows, ModelError> {
        let (width_px, height_px) = (page.width_px(), page.height_px());
        let asked = fitted(self.longest, height_px.into(), width_px.into());
        if asked != (PictureSize { width_px, height_px }) {
            let expected = (asked.width_px, asked.height_px);
            return Err(ModelError::ImageSize { expected, got: (width_px, height_px) });
        }
        let (grid, tiles) = tiles(page, self.config.vision.edge as u32);
        let sequence = self.tokens.page(&self.recipe, grid)?;
        let rows = self.cpu.encode_page(&self.pixels(&tiles)?, &sequence)?;
        Ok(PageRows { rows: rows.flatten_all()?.to_vec1()?, layout: sequence.layout(grid) })
    }

    fn query(&self, question: &str) -> Result<Query, ModelError> {
        self.tokens.query(&self.recipe, question)
    }

    fn encode_texts(&self, texts: &[&[u32]]) -> Result<Vec<f32>, ModelError> {
        let texts: Vec<Sequence> = texts.iter().map(|ids| Sequence::text(ids.to_vec())).collect();
        Ok(self.cpu.encode_texts(&texts)?.flatten_all()?.to_vec1()?)
    }

    fn is_query_only(&self) -> bool {
        self.cpu.is_query_only()
    }
}
