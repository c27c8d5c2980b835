//! The whole model: it turns pages and queries into multi-vectors.

use std::borrow::Cow;

use candle_core::{Result as CandleResult, Tensor};
use pagesight_core::{Filter, PageImage, PageSize, PictureSize};
use rayon::prelude::*;

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::engine::Engine;
use crate::families::idefics3::config::Config;
use crate::families::idefics3::cpu::CpuModel;
use crate::families::idefics3::gpu::GpuModel;
use crate::families::idefics3::opened::OpenedTiles;
use crate::families::idefics3::processor::Processor;
use crate::families::idefics3::recipe::TilesRecipe;
use crate::families::idefics3::sequence::Sequence;
use crate::families::idefics3::tiles::{TileGrid, fitted, picture, tiles};
use crate::families::idefics3::tokens::Tokens;
use crate::families::opened::Opened;
use crate::families::retriever::{Network, PageRows, Retriever};
use crate::gpu;
use crate::gpu::pixels::{Cuts, Order};
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
    pub engine: Engine<CpuModel, GpuModel>,
}

/// Pages as the model reads them.
pub struct CutPages<'a> {
    grids: Vec<TileGrid>,
    sequences: Vec<Sequence>,
    seen: Seen<'a>,
}

/// What the tower sees of pages.
enum Seen<'a> {
    /// The tiles of each.
    OnCpu(&'a CpuModel, Vec<Vec<PageImage>>),
    /// The patches of all tiles.
    OnGpu(&'a GpuModel, Cuts<'static>),
}

/// Loads an opened checkpoint.
///
/// # Errors
/// [`ModelError`] with file and key for whatever is missing, left over, of another shape, cut off,
/// or not this model's; [`ModelError::Device`] for a GPU asked for by name that is not there.
pub fn load(
    checkpoint: &Checkpoint,
    options: &LoadOptions,
) -> Result<Retriever<TilesModel>, ModelError> {
    let device = gpu::open(options.device)?;
    let OpenedTiles { config, processor, longest, tokens, opened, id } =
        OpenedTiles::read(checkpoint, options)?;
    let Opened { weights, recipe, precision, .. } = opened;
    let engine = Engine::take(device, checkpoint, precision, weights, |weights| {
        CpuModel::take(weights, precision, &config, options.query_only)
    })?;
    let (dim, kept) = (config.dim, recipe.clone());
    let network = TilesModel { config, processor, longest, recipe, tokens, engine };
    Retriever::new(checkpoint, options, id, dim, &kept, network)
}

impl TilesModel {
    /// The numbers of tiles, `[3, edge, edge]` each.
    pub fn pixels(&self, tiles: &[PageImage]) -> CandleResult<Vec<Tensor>> {
        tiles.par_iter().map(|tile| self.processor.normalisation.pixel_values(tile)).collect()
    }

    /// Cuts a page into tiles.
    ///
    /// # Errors
    /// [`ModelError::ImageSize`] when its picture has not its size.
    fn cut(&self, page: &PageImage) -> Result<(TileGrid, Vec<PageImage>), ModelError> {
        let (width_px, height_px) = (page.width_px(), page.height_px());
        let asked = fitted(self.longest, height_px.into(), width_px.into());
        if asked != (PictureSize { width_px, height_px }) {
            let expected = (asked.width_px, asked.height_px);
            return Err(ModelError::ImageSize { expected, got: (width_px, height_px) });
        }
        Ok(tiles(page, self.config.vision.edge as u32))
    }

    /// The patches of the tiles of pages.
    fn patches(&self, tiles: Vec<Vec<PageImage>>) -> Cuts<'static> {
        let (patch, side) = (self.config.vision.patch, self.config.vision.side());
        let mut cuts = Cuts::new(patch, Order::ChannelByChannel);
        for tile in tiles.into_iter().flatten() {
            cuts.add(
                Cow::Owned(tile),
                (0..side * side).map(|n| [n / side * patch, n % side * patch]),
            );
        }
        cuts
    }
}

impl Network for TilesModel {
    const FILTER: Filter = Processor::FILTER;

    /// A picture in the page's own shape with the longest side of the recipe. The model stretches it
    /// to whole tiles.
    fn picture(&self, page: PageSize) -> PictureSize {
        picture(self.longest, page)
    }

    type Batch<'a> = CutPages<'a>;

    fn batch<'a>(&'a self, pages: &'a [PageImage]) -> Result<CutPages<'a>, ModelError> {
        let cut = pages.par_iter().map(|page| self.cut(page));
        let cut = cut.collect::<Result<Vec<_>, ModelError>>()?;
        let (grids, tiles): (Vec<_>, Vec<_>) = cut.into_iter().unzip();
        let sequences = grids.iter().map(|grid| self.tokens.page(&self.recipe, *grid));
        let sequences = sequences.collect::<Result<_, _>>()?;
        let seen = match &self.engine {
            Engine::Cpu(cpu) => Seen::OnCpu(cpu, tiles),
            Engine::Gpu(gpu) => Seen::OnGpu(gpu, self.patches(tiles)),
        };
        Ok(CutPages { grids, sequences, seen })
    }

    fn encode(&self, pages: CutPages<'_>) -> Result<Vec<PageRows>, ModelError> {
        let CutPages { grids, sequences, seen } = pages;
        let layouts = sequences.iter().zip(grids).map(|(sequence, grid)| sequence.layout(grid));
        let (dim, layouts) = (self.config.dim, layouts.collect());
        match seen {
            Seen::OnCpu(cpu, tiles) => {
                let pages = tiles.iter().zip(&sequences).map(|(tiles, sequence)| {
                    let rows = cpu.encode_page(&self.pixels(tiles)?, sequence)?;
                    Ok(rows.flatten_all()?.to_vec1()?)
                });
                let rows = pages.collect::<Result<Vec<_>, ModelError>>()?.concat();
                Ok(PageRows::of_each(&rows, dim, layouts))
            }
            Seen::OnGpu(gpu, cuts) => {
                let worth = self.processor.normalisation.worth();
                let rows = gpu.encode_pages(&sequences, &cuts, &worth)?;
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
