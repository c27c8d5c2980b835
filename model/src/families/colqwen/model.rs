//! The whole model: it turns pages and queries into multi-vectors.

use pagesight_core::{Filter, PageImage, PageSize, PictureSize};

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::colqwen::config::{Config, MERGE};
use crate::families::colqwen::cpu::CpuModel;
use crate::families::colqwen::opened::OpenedColQwen;
use crate::families::colqwen::pictures::{fitted, is_asked_for, patches, picture};
use crate::families::colqwen::processor::{Budget, Processor};
use crate::families::colqwen::recipe::ColQwenRecipe;
use crate::families::colqwen::sequence::{Grid, Sequence};
use crate::families::colqwen::tokens::{PagePrompt, Tokens};
use crate::families::opened::Opened;
use crate::families::retriever::{Network, PageRows, Retriever, on_the_cpu};
use crate::options::LoadOptions;
use crate::text::Query;

/// A ColQwen in memory.
#[derive(Debug)]
pub struct ColQwen {
    pub config: Config,
    pub processor: Processor,
    budget: Budget,
    pub recipe: ColQwenRecipe,
    pub tokens: Tokens,
    pub prompt: PagePrompt,
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
) -> Result<Retriever<ColQwen>, ModelError> {
    let OpenedColQwen { config, processor, budget, tokens, prompt, opened, dim, id } =
        OpenedColQwen::read(checkpoint, options)?;
    on_the_cpu(options, config.family)?;
    let Opened { weights, recipe, precision, .. } = opened;
    let cpu = CpuModel::take(weights, precision, &config, &recipe, options.query_only)?;
    let kept = recipe.clone();
    let network = ColQwen { config, processor, budget, recipe, tokens, prompt, cpu };
    Retriever::new(checkpoint, options, id, dim, &kept, network)
}

impl ColQwen {
    /// Edge of a feature, px.
    fn feature(&self) -> u32 {
        (self.config.vision.patch * MERGE) as u32
    }
}

impl Network for ColQwen {
    const FILTER: Filter = Processor::FILTER;

    /// A picture in the page's own shape, as large as the budget of pixels lets it be.
    fn picture(&self, page: PageSize) -> PictureSize {
        picture(self.budget, self.feature(), page)
    }

    fn encode_page(&self, page: &PageImage) -> Result<PageRows, ModelError> {
        let size = PictureSize { width_px: page.width_px(), height_px: page.height_px() };
        if !is_asked_for(self.budget, self.feature(), size) {
            let (height, width) = (f64::from(size.height_px), f64::from(size.width_px));
            let asked = fitted(self.budget, self.feature(), height, width);
            let expected = (asked.width_px, asked.height_px);
            return Err(ModelError::ImageSize { expected, got: (size.width_px, size.height_px) });
        }
        let (grid, pixels) = patches(page, self.config.vision.patch, &self.processor);
        let sequence = Sequence::page(&self.prompt, self.tokens.image, grid);
        let rows = self.cpu.encode_page(&pixels, grid, &sequence)?.flatten_all()?.to_vec1()?;
        Ok(PageRows { rows, layout: Grid::layout(grid, &self.prompt) })
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
