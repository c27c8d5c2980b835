//! The whole model: it turns pages and queries into multi-vectors.

use std::borrow::Cow;

use candle_core::Tensor;
use pagesight_core::{Filter, PageImage, PageSize, PictureSize};

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::engine::Engine;
use crate::families::neomme::config::Config;
use crate::families::neomme::cpu::CpuModel;
use crate::families::neomme::gpu::GpuModel;
use crate::families::neomme::opened::OpenedNeoMme;
use crate::families::neomme::pictures::{corners, fitted, patches, picture};
use crate::families::neomme::processor::{Limits, Processor};
use crate::families::neomme::recipe::NeoMmeRecipe;
use crate::families::neomme::sequence::{Grid, Sequence};
use crate::families::neomme::tokens::Tokens;
use crate::families::opened::Opened;
use crate::families::retriever::{Network, PageRows, Retriever};
use crate::gpu;
use crate::gpu::pixels::{Cuts, Order};
use crate::options::LoadOptions;
use crate::text::Query;

/// A NeoMME in memory.
#[derive(Debug)]
pub struct NeoMme {
    pub config: Config,
    pub processor: Processor,
    limits: Limits,
    pub recipe: NeoMmeRecipe,
    pub tokens: Tokens,
    pub engine: Engine<CpuModel, GpuModel>,
}

/// Loads an opened checkpoint.
///
/// # Errors
/// [`ModelError`] with file and key for whatever is missing, left over, of another shape, cut off,
/// or not this model's; [`ModelError::Device`] for a GPU asked for by name that is not there.
pub fn load(
    checkpoint: &Checkpoint,
    options: &LoadOptions,
) -> Result<Retriever<NeoMme>, ModelError> {
    let device = gpu::open(options.device)?;
    let OpenedNeoMme { config, processor, limits, tokens, opened, id } =
        OpenedNeoMme::read(checkpoint, options)?;
    let Opened { weights, recipe, precision, .. } = opened;
    let engine = Engine::take(device, checkpoint, precision, weights, |weights| {
        CpuModel::take(weights, precision, &config, options.query_only)
    })?;
    let dim = config.dim;
    let network = NeoMme { config, processor, limits, recipe: recipe.clone(), tokens, engine };
    Retriever::new(checkpoint, options, id, dim, &recipe, network)
}

impl NeoMme {
    /// The grid of a page.
    ///
    /// # Errors
    /// [`ModelError::ImageSize`] when its picture has not its size.
    fn grid(&self, page: &PageImage) -> Result<Grid, ModelError> {
        let (width_px, height_px) = (page.width_px(), page.height_px());
        let asked = fitted(self.limits, PictureSize { width_px, height_px });
        let expected = (asked.width_px, asked.height_px);
        if expected != (width_px, height_px) {
            return Err(ModelError::ImageSize { expected, got: (width_px, height_px) });
        }
        Ok(Grid::of(width_px, height_px, self.config.patch))
    }

    /// The vectors of a page on the CPU, `[positions, dim]`.
    fn encode_page(&self, cpu: &CpuModel, page: &PageImage) -> Result<Vec<f32>, ModelError> {
        let (grid, pixels) = patches(page, self.config.patch, &self.processor);
        let features = cpu.embed_patches(&pixels)?.to_rows();
        let sequence = Sequence::page(&self.tokens, grid);
        Ok(cpu.encode(&[sequence], &features)?.flatten_all()?.to_vec1()?)
    }

    /// The vectors of pages that a GPU gives, one after the other, `[sum of positions, dim]`.
    fn encode_together(
        &self,
        gpu: &GpuModel,
        pages: &[PageImage],
        grids: &[Grid],
    ) -> Result<Tensor, ModelError> {
        let patch = self.config.patch;
        let mut cuts = Cuts::new(patch, Order::PixelByPixel);
        for (page, grid) in pages.iter().zip(grids) {
            cuts.add(Cow::Borrowed(page), corners(*grid, patch));
        }
        let sequences = grids.iter().map(|grid| Sequence::page(&self.tokens, *grid));
        let sequences: Vec<Sequence> = sequences.collect();
        let worth = self.processor.normalisation.worth();
        gpu.encode_pages(&sequences, &cuts, &worth)
    }
}

impl Network for NeoMme {
    const FILTER: Filter = Processor::FILTER;

    /// A picture in the page's own shape, whose longest side is the longest that the model sees.
    fn picture(&self, page: PageSize) -> PictureSize {
        picture(self.limits, page)
    }

    type Batch<'a> = (&'a [PageImage], Vec<Grid>);

    fn batch<'a>(&'a self, pages: &'a [PageImage]) -> Result<Self::Batch<'a>, ModelError> {
        let grids = pages.iter().map(|page| self.grid(page));
        Ok((pages, grids.collect::<Result<_, _>>()?))
    }

    fn encode(&self, (pages, grids): Self::Batch<'_>) -> Result<Vec<PageRows>, ModelError> {
        let layouts = grids.iter().zip(pages);
        let layouts = layouts
            .map(|(grid, page)| grid.layout(page.width_px(), page.height_px(), self.config.patch));
        let (dim, layouts) = (self.config.dim, layouts.collect());
        match &self.engine {
            Engine::Cpu(cpu) => {
                let rows = pages.iter().map(|page| self.encode_page(cpu, page));
                let rows = rows.collect::<Result<Vec<_>, _>>()?.concat();
                Ok(PageRows::of_each(&rows, dim, layouts))
            }
            Engine::Gpu(gpu) => {
                let rows = self.encode_together(gpu, pages, &grids)?;
                Ok(PageRows::of_tensor(&rows, dim, layouts)?)
            }
        }
    }

    fn query(&self, question: &str) -> Result<Query, ModelError> {
        self.tokens.query(&self.recipe, question)
    }

    fn encode_texts(&self, texts: &[&[u32]]) -> Result<Vec<f32>, ModelError> {
        let texts: Vec<Sequence> = texts.iter().map(|ids| Sequence::text(ids.to_vec())).collect();
        let rows = match &self.engine {
            Engine::Cpu(cpu) => cpu.encode(&texts, &[])?,
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
