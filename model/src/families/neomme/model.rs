//! The whole model: it turns pages and queries into multi-vectors.

use pagesight_core::{Filter, PageImage, PageSize, PictureSize};

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::neomme::config::Config;
use crate::families::neomme::cpu::CpuModel;
use crate::families::neomme::names::FAMILY_NAME;
use crate::families::neomme::opened::OpenedNeoMme;
use crate::families::neomme::pictures::{fitted, patches, picture};
use crate::families::neomme::processor::{Limits, Processor};
use crate::families::neomme::recipe::NeoMmeRecipe;
use crate::families::neomme::sequence::Sequence;
use crate::families::neomme::tokens::Tokens;
use crate::families::opened::Opened;
use crate::families::retriever::{Network, PageRows, Retriever, on_the_cpu};
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
) -> Result<Retriever<NeoMme>, ModelError> {
    on_the_cpu(options, FAMILY_NAME)?;
    let OpenedNeoMme { config, processor, limits, tokens, opened, id } =
        OpenedNeoMme::read(checkpoint, options)?;
    let Opened { weights, recipe, precision, .. } = opened;
    let cpu = CpuModel::take(weights, precision, &config, options.query_only)?;
    let dim = config.dim;
    let network = NeoMme { config, processor, limits, recipe: recipe.clone(), tokens, cpu };
    Retriever::new(checkpoint, options, id, dim, &recipe, network)
}

impl Network for NeoMme {
    const FILTER: Filter = Processor::FILTER;

    /// A picture in the page's own shape, whose longest side is the longest that the model sees.
    fn picture(&self, page: PageSize) -> PictureSize {
        picture(self.limits, page)
    }

    fn encode_page(&self, page: &PageImage) -> Result<PageRows, ModelError> {
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
        let rows = self.cpu.encode(&[sequence], &features)?.flatten_all()?.to_vec1()?;
        Ok(PageRows { rows, layout: grid.layout(width_px, height_px, patch) })
    }

    fn query(&self, question: &str) -> Result<Query, ModelError> {
        self.tokens.query(&self.recipe, question)
    }

    fn encode_texts(&self, texts: &[&[u32]]) -> Result<Vec<f32>, ModelError> {
        let texts: Vec<Sequence> = texts.iter().map(|ids| Sequence::text(ids.to_vec())).collect();
        Ok(self.cpu.encode(&texts, &[])?.flatten_all()?.to_vec1()?)
    }

    fn is_query_only(&self) -> bool {
        self.cpu.is_query_only()
    }
}
