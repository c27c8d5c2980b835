//! The whole model: it turns pages and queries into multi-vectors.

use candle_core::Tensor;
use pagesight_core::{Filter, PageImage, PageSize, PictureSize};

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::colqwen::config::{Config, MERGE};
use crate::families::colqwen::cpu::CpuModel;
use crate::families::colqwen::gpu::GpuModel;
use crate::families::colqwen::opened::OpenedColQwen;
use crate::families::colqwen::pictures::{fitted, is_asked_for, patches, picture};
use crate::families::colqwen::processor::{Budget, Processor};
use crate::families::colqwen::recipe::ColQwenRecipe;
use crate::families::colqwen::sequence::{Grid, Sequence};
use crate::families::colqwen::tokens::{PagePrompt, Tokens};
use crate::families::engine::Engine;
use crate::families::opened::Opened;
use crate::families::retriever::{Network, PageRows, Retriever};
use crate::gpu;
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
    pub engine: Engine<CpuModel, GpuModel>,
    dim: usize,
}

/// Loads an opened checkpoint.
///
/// # Errors
/// [`ModelError`] with file and key for whatever is missing, left over, of another shape, cut off,
/// or not this model's; [`ModelError::Device`] for a GPU asked for by name that is not there.
pub fn load(
    checkpoint: &Checkpoint,
    options: &LoadOptions,
) -> Result<Retriever<ColQwen>, ModelError> {
    let device = gpu::open(options.device)?;
    let OpenedColQwen { config, processor, budget, tokens, prompt, opened, dim, id } =
        OpenedColQwen::read(checkpoint, options)?;
    let Opened { weights, recipe, precision, .. } = opened;
    let engine = Engine::take(device, checkpoint, precision, weights, |weights| {
        CpuModel::take(weights, precision, &config, &recipe, options.query_only)
    })?;
    let kept = recipe.clone();
    let network = ColQwen { config, processor, budget, recipe, tokens, prompt, engine, dim };
    Retriever::new(checkpoint, options, id, dim, &kept, network)
}

impl ColQwen {
    /// Edge of a feature, px.
    fn feature(&self) -> u32 {
        (self.config.vision.patch * MERGE) as u32
    }

    /// The grid of a page.
    ///
    /// # Errors
    /// [`ModelError::ImageSize`] when its picture has not its size.
    fn grid(&self, page: &PageImage) -> Result<Grid, ModelError> {
        let size = PictureSize { width_px: page.width_px(), height_px: page.height_px() };
        if !is_asked_for(self.budget, self.feature(), size) {
            let (height, width) = (f64::from(size.height_px), f64::from(size.width_px));
            let asked = fitted(self.budget, self.feature(), height, width);
            let expected = (asked.width_px, asked.height_px);
            return Err(ModelError::ImageSize { expected, got: (size.width_px, size.height_px) });
        }
        Ok(Grid::of(size, self.feature()))
    }

    /// The vectors of a page on the CPU, `[positions, dim]`.
    fn encode_page(&self, cpu: &CpuModel, page: &PageImage) -> Result<Vec<f32>, ModelError> {
        let (grid, pixels) = patches(page, self.config.vision.patch, &self.processor);
        let sequence = Sequence::page(&self.prompt, self.tokens.image, grid);
        Ok(cpu.encode_page(&pixels, grid, &sequence)?.flatten_all()?.to_vec1()?)
    }

    /// The vectors of pages that a GPU gives, one after the other, `[sum of positions, dim]`.
    fn encode_together(
        &self,
        gpu: &GpuModel,
        pages: &[PageImage],
        grids: &[Grid],
    ) -> Result<Tensor, ModelError> {
        let sequences =
            grids.iter().map(|grid| Sequence::page(&self.prompt, self.tokens.image, *grid));
        let sequences: Vec<Sequence> = sequences.collect();
        let worth = self.processor.normalisation.worth();
        gpu.encode_pages(pages, grids, &sequences, &worth)
    }
}

impl Network for ColQwen {
    const FILTER: Filter = Processor::FILTER;

    /// A picture in the page's own shape, as large as the budget of pixels lets it be.
    fn picture(&self, page: PageSize) -> PictureSize {
        picture(self.budget, self.feature(), page)
    }

    type Batch<'a> = (&'a [PageImage], Vec<Grid>);

    fn batch<'a>(&'a self, pages: &'a [PageImage]) -> Result<Self::Batch<'a>, ModelError> {
        let grids = pages.iter().map(|page| self.grid(page));
        Ok((pages, grids.collect::<Result<_, _>>()?))
    }

    fn encode(&self, (pages, grids): Self::Batch<'_>) -> Result<Vec<PageRows>, ModelError> {
        let layouts = grids.iter().map(|grid| grid.layout(&self.prompt)).collect();
        match &self.engine {
            Engine::Cpu(cpu) => {
                let rows = pages.iter().map(|page| self.encode_page(cpu, page));
                let rows = rows.collect::<Result<Vec<_>, _>>()?.concat();
                Ok(PageRows::of_each(&rows, self.dim, layouts))
            }
            Engine::Gpu(gpu) => {
                let rows = self.encode_together(gpu, pages, &grids)?;
                Ok(PageRows::of_tensor(&rows, self.dim, layouts)?)
            }
        }
    }

    fn query(&self, question: &str) -> Result<Query, ModelError> {
        self.tokens.query(&self.recipe, question)
    }

    fn encode_texts(&self, texts: &[&[u32]]) -> Result<Vec<f32>, ModelError> {
        let texts: Vec<Sequence> = texts.iter().map(|ids| Sequence::text(ids.to_vec())).collect();
        let rows = match &self.engine {
            Engine::Cpu(cpu) => cpu.encode_texts(&texts)?,
            Engine::Gpu(gpu) => gpu.encode_texts(&texts)?,
        };
        Ok(rows.flatten_all()?.to_vec1()?)
    }

    fn is_query_only(&self) -> bool {
        match &self.engine {
            Engine::Cpu(cpu) => cpu.is_query_only(),
            Engine::Gpu(gpu) => gpu.is_query_only(),
        }
    }

    fn is_faster_with_several(&self) -> bool {
        self.engine.is_faster_with_several()
    }
}
