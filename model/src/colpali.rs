//! The whole model: load it, and pages and queries become multi-vectors.

use std::path::{Path, PathBuf};
use std::time::Duration;

use candle_core::{Device as CandleDevice, Result as CandleResult, Tensor};
use pagesight_core::seam::{BoxError, EncoderInput, PageEncoder, QueryEncoder};
use pagesight_core::{
    ModelId, PageImage, PageVectors, PatchGrid, QueryVectors, Slices, resize_bicubic,
};
use rayon::prelude::*;

use crate::adapter::AdapterConfig;
use crate::card::Card;
use crate::checkpoint::{BasePlaces, Checkpoint};
use crate::config::{Config, PreprocessorConfig};
use crate::device::Device;
use crate::digest::Digests;
use crate::embedded::{NANO, is_there};
use crate::ink::printed;
use crate::precision::Precision;
use crate::preprocess::pixel_values;
use crate::processor::Processor;
use crate::recipe::{Recipe, RecipeOrigin};
use crate::tokens::Tokens;
use crate::weights::Weights;
use crate::{HubCache, ModelError};

/// What a caller may choose beyond the checkpoint.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Takes the place of the checkpoint's recipe.
    pub recipe: Option<Recipe>,
    /// Takes the place of the recipe's grids.
    pub slices: Option<Slices>,
    /// Takes the place of the recipe's precision, which by default is what the weights have: f32,
    /// bf16 and f16 weights are run as what they are, quantized ones as theirs.
    pub precision: Option<Precision>,
    /// Where it runs.
    pub device: Device,
    /// Slices (model inputs; one a page for ColPali) that a card encodes at once [default: 4]. More
    /// are faster and take more of its memory, 180 MB each for 3B parameters. A processor
    /// has one at a time.
    pub card_slices: Option<usize>,
    /// Loads what queries need: the vision tower stays in its file, unread.
    pub query_only: bool,
    /// Takes the place of the base that an adapter names.
    pub base: Option<PathBuf>,
    /// Where to look for the base of an adapter by its name.
    pub hub: Option<HubCache>,
    /// A file that remembers the hashes of weights files, so that they are not read whole at each
    /// start; it is made when it is not there.
    pub digests: Option<PathBuf>,
}

/// A ColPali checkpoint in memory. `&self` throughout: share it between threads.
#[derive(Debug)]
pub struct ColPali {
    folder: PathBuf,
    base: Option<PathBuf>,
    id: ModelId,
    precision: Precision,
    pub(crate) config: Config,
    pub(crate) preprocessor: PreprocessorConfig,
    pub(crate) recipe: Recipe,
    recipe_origin: RecipeOrigin,
    pub(crate) tokens: Tokens,
    engine: Engine,
    /// Slices that a card encodes at once.
    card_slices: usize,
    /// Ids of a page after its image tokens are in place.
    page_ids: Vec<u32>,
}

/// What does the arithmetic.
#[derive(Debug)]
enum Engine {
    Processor(Box<Processor>),
    Card(Box<Card>),
}

impl ColPali {
    /// What the folder of [`nano`](Self::nano) is called; it is on no disk.
    pub const NANO: &str = NANO;

    /// The small model inside the program. It reads print, and knows no meaning: see
    /// `model/nano/README.md`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    ///
    /// ```
    /// use pagesight_core::seam::QueryEncoder;
    /// use pagesight_model::ColPali;
    ///
    /// let query = &ColPali::nano()?.encode_queries(&["net sales"]).unwrap()[0];
    /// assert_eq!(query.dim(), 128);
    /// # Ok::<(), pagesight_model::ModelError>(())
    /// ```
    pub fn nano() -> Result<Self, ModelError> {
        Self::load(Path::new(NANO), &LoadOptions::default())
    }

    /// Loads the checkpoint in `folder`, as f32: whole weights in any published layout (HF-native
    /// or colpali-engine, one file or shards), or a LoRA adapter over its base.
    ///
    /// # Errors
    /// [`ModelError`] with file and key for whatever is missing, left over, of another shape, cut
    /// off, or not this model's. Nothing is ever filled in.
    pub fn load(folder: &Path, options: &LoadOptions) -> Result<Self, ModelError> {
        let card = options.device.card()?;
        let places = BasePlaces { folder: options.base.as_deref(), hub: options.hub.as_ref() };
        let checkpoint = Checkpoint::open(folder, places)?;
        let config = Config::read(&checkpoint.file("config.json"))?;
        let preprocessor = PreprocessorConfig::read(&checkpoint, &config)?;
        let weights = Weights::open(&checkpoint)?;
        let (recipe, origin, precision) = in_force(&checkpoint, &weights, options)?;
        let tokens = Tokens::read(&checkpoint.file("tokenizer.json"), &config.vlm_config)?;
        let side = config.vlm_config.vision_config.side();
        let page_ids = tokens.page_ids(side * side, &recipe.page_prompt)?;
        let digests = Digests::new(options.digests.clone());
        let id = model_id(&checkpoint, &recipe, &digests)?;
        let processor = Box::new(Processor::take(weights, precision, &config, options.query_only)?);
        let engine = match card {
            Some(card) => Engine::Card(Box::new(Card::place(&card, precision, &processor)?)),
            None => Engine::Processor(processor),
        };
        let folder = folder.to_path_buf();
        // As it was named, but found from anywhere.
        let absolute = |path: &PathBuf| {
            std::path::absolute(path)
                .map_err(|source| ModelError::Io { path: path.clone(), source })
        };
        let base = options.base.as_ref().map(absolute).transpose()?;
        Ok(Self {
            folder,
            base,
            id,
            precision,
            config,
            preprocessor,
            recipe,
            recipe_origin: origin,
            tokens,
            engine,
            card_slices: options.card_slices.unwrap_or(CARD_SLICES).max(1),
            page_ids,
        })
    }

    /// Where it was loaded from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The base of an adapter, absolute, when it was named; one that was found by its name will be
    /// found again.
    pub fn base(&self) -> Option<&Path> {
        self.base.as_deref()
    }

    /// Whether it was loaded without its vision tower.
    pub fn is_query_only(&self) -> bool {
        match &self.engine {
            Engine::Processor(processor) => processor.is_query_only(),
            Engine::Card(card) => card.is_query_only(),
        }
    }

    /// What it runs in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Where it runs, never [`Device::Auto`].
    pub fn device(&self) -> Device {
        match &self.engine {
            Engine::Processor(_) => Device::Cpu,
            Engine::Card(card) => card.device(),
        }
    }

    /// The model on the processor; `None` when a card has it.
    pub(crate) fn processor(&self) -> Option<&Processor> {
        match &self.engine {
            Engine::Processor(processor) => Some(processor),
            Engine::Card(_) => None,
        }
    }

    /// What it does around its weights.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Why it does that.
    pub fn recipe_origin(&self) -> &RecipeOrigin {
        &self.recipe_origin
    }

    /// How the vectors of a page are laid out.
    pub fn patch_grid(&self) -> PatchGrid {
        let side = self.config.vlm_config.vision_config.side() as u32;
        let text = self.page_ids.len() as u32 - side * side;
        PatchGrid { slices: self.recipe.slices.clone(), side, text }
    }

    /// One slice, `[3, edge, edge]` f32, to its rows, `[n_vectors, dim]` f32.
    pub(crate) fn encode_slice(&self, pixels: &Tensor, ids: &[u32]) -> Result<Tensor, ModelError> {
        let pictures = std::slice::from_ref(pixels);
        match &self.engine {
            Engine::Processor(processor) => processor.encode_slices(pictures, ids),
            Engine::Card(card) => card.encode_slices(pictures, ids),
        }
    }

    /// Texts to the rows of all, `[sum of n_tokens, dim]` f32.
    fn encode_texts(&self, texts: &[&[u32]], causal: bool) -> CandleResult<Tensor> {
        match &self.engine {
            Engine::Processor(processor) => processor.encode_texts(texts, causal),
            Engine::Card(card) => card.encode_texts(texts, causal),
        }
    }

    /// Text ids to rows, `[n_tokens, dim]` f32.
    pub(crate) fn encode_ids(&self, ids: &[u32], causal: bool) -> CandleResult<Tensor> {
        self.encode_texts(&[ids], causal)
    }

    /// Encodes the first slice of a page on the processor and tells how long the vision tower with
    /// its projector, the language model and the head took; `None` when a card has the model. For
    /// benches.
    ///
    /// # Errors
    /// As encoding it.
    pub fn time_page(&self, page: &PageImage) -> Result<Option<[Duration; 3]>, ModelError> {
        let Some(processor) = self.processor() else { return Ok(None) };
        let pixels = pixel_values(&self.slices(page)?[0], &self.preprocessor)?;
        processor.time(&pixels, &self.page_ids).map(Some)
    }

    /// The model's inputs of a page: grid by grid, row by row. A grid that is not the finest sees
    /// the page made smaller, as the reference makes pictures smaller.
    fn slices(&self, page: &PageImage) -> Result<Vec<PageImage>, ModelError> {
        let input = self.input();
        let expected = (input.width_px(), input.height_px());
        let got = (page.width_px(), page.height_px());
        if expected != got {
            return Err(ModelError::ImageSize { expected, got });
        }
        let edge = input.edge_px;
        let mut slices = Vec::with_capacity(input.slices.count());
        for grid in input.slices.grids() {
            let resized = resize_bicubic(page, grid.cols * edge, grid.rows * edge);
            for (row, column) in (0..grid.rows).flat_map(|r| (0..grid.cols).map(move |c| (r, c))) {
                slices.push(resized.crop(column * edge, row * edge, edge, edge));
            }
        }
        Ok(slices)
    }

    /// Pages with the slices of several together, where that suits the engine.
    fn encode_all(&self, pages: &[PageImage]) -> Result<Vec<PageVectors>, ModelError> {
        let together = match &self.engine {
            Engine::Processor(_) => 1,
            Engine::Card(_) => self.card_slices,
        };
        let pages_together = together.div_ceil(self.recipe.slices.count());
        let mut encoded = Vec::with_capacity(pages.len());
        for pages in pages.chunks(pages_together) {
            let mut rows = vec![KeptRows::default(); pages.len()];
            let cuts = pages.par_iter().enumerate().map(|(page, image)| self.cut(page, image));
            let cuts: Vec<Vec<Cut>> = cuts.collect::<Result<_, _>>()?;
            let cuts: Vec<Cut> = cuts.into_iter().flatten().collect();
            let kept: Vec<Vec<KeptRows>> = match &self.engine {
                Engine::Processor(_) => {
                    let kept = cuts.par_chunks(together).map(|cuts| self.encode_cuts(cuts));
                    kept.collect::<Result<_, _>>()?
                }
                Engine::Card(_) => {
                    let kept = cuts.chunks(together).map(|cuts| self.encode_cuts(cuts));
                    kept.collect::<Result<_, _>>()?
                }
            };
            for (cut, kept) in cuts.iter().zip(kept.into_iter().flatten()) {
                rows[cut.page].rows.extend(kept.rows);
                rows[cut.page].places.extend(kept.places);
            }
            let finished = rows.into_par_iter().map(|rows| self.finish(rows));
            encoded.extend(finished.collect::<Result<Vec<_>, _>>()?);
        }
        Ok(encoded)
    }

    /// What is kept of each of `cuts`.
    fn encode_cuts(&self, cuts: &[Cut]) -> Result<Vec<KeptRows>, ModelError> {
        let kept: Vec<&[usize]> = cuts.iter().map(|cut| cut.places.as_slice()).collect();
        let rows = match &self.engine {
            Engine::Processor(processor) => {
                let pictures =
                    cuts.iter().map(|cut| pixel_values(&cut.picture, &self.preprocessor));
                let pictures = pictures.collect::<CandleResult<Vec<_>>>()?;
                processor.encode_kept(&pictures, &self.page_ids, &kept)?
            }
            Engine::Card(card) => {
                let pictures: Vec<&PageImage> = cuts.iter().map(|cut| &cut.picture).collect();
                card.encode_pictures(&pictures, &self.preprocessor, &self.page_ids, &kept)?
            }
        };
        let rows = rows.flatten_all()?.to_vec1::<f32>()?;
        let mut rows = rows.as_slice();
        let of_cuts = cuts.iter().map(|cut| {
            let (of_cut, others) = rows.split_at(cut.places.len() * self.dim());
            rows = others;
            (cut, of_cut)
        });
        let of_cuts: Vec<_> = of_cuts.collect();
        Ok(of_cuts.into_par_iter().map(|(cut, rows)| self.pool(cut, rows)).collect())
    }

    /// The slices of a page, without those of which the recipe keeps nothing.
    fn cut(&self, page: usize, image: &PageImage) -> Result<Vec<Cut>, ModelError> {
        let slices = self.slices(image)?;
        let patch = self.config.vlm_config.vision_config.patch_size as u32;
        let of_slice = self.page_ids.len();
        let places = match self.recipe.prune_blank {
            None => vec![(0..of_slice).collect(); slices.len()],
            Some(range) => printed(&slices, patch, range),
        };
        let cuts = slices.into_iter().zip(places).enumerate();
        let cuts =
            cuts.map(|(n, (picture, places))| Cut { page, first: n * of_slice, picture, places });
        Ok(cuts.filter(|cut| !cut.places.is_empty()).collect())
    }

    /// What is kept of a slice, of `vectors` at the places of `cut`: all, or what the recipe pools
    /// them to. Slice by slice, since hierarchical pooling takes the cube of how many there are.
    fn pool(&self, cut: &Cut, vectors: &[f32]) -> KeptRows {
        let pooled = self.recipe.pooler.pool(self.dim(), vectors, self.recipe.pooling);
        let places = pooled.representatives.iter().map(|&row| (cut.first + cut.places[row]) as u32);
        KeptRows { places: places.collect(), rows: pooled.vectors }
    }

    /// What was kept of a page.
    fn finish(&self, KeptRows { rows, places }: KeptRows) -> Result<PageVectors, ModelError> {
        let vectors = PageVectors::from_f32(self.dim(), &rows)?;
        match places.len() == self.recipe.slices.count() * self.page_ids.len() {
            true => Ok(vectors),
            false => Ok(vectors.with_places(places)?),
        }
    }

    /// Ids of a page: its image tokens and the prompt.
    pub(crate) fn page_ids(&self) -> &[u32] {
        &self.page_ids
    }

    /// Ids of a question with all that the recipe puts around it.
    pub(crate) fn query_ids(&self, question: &str) -> Result<Vec<u32>, ModelError> {
        self.tokens.ids(&self.recipe.query_text(question))
    }

    /// Queries to vectors, together: the weights pass by once for all of them.
    fn encode_together(&self, questions: &[&str]) -> Result<Vec<QueryVectors>, ModelError> {
        let ids = questions.iter().map(|question| self.query_ids(question));
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        let texts: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        let rows = self.encode_texts(&texts, self.recipe.causal_queries)?;
        let rows = rows.flatten_all()?.to_vec1::<f32>()?;
        let mut start = 0;
        let vectors = ids.iter().map(|ids| {
            let end = start + ids.len() * self.dim();
            let rows = rows[start..end].to_vec();
            start = end;
            Ok(QueryVectors::new(self.dim(), rows, self.tokens.names(ids))?)
        });
        vectors.collect()
    }
}

/// A slice of a page and the places of the vectors that are kept of it.
struct Cut {
    page: usize,
    /// The place, in its page, of its first vector.
    first: usize,
    picture: PageImage,
    places: Vec<usize>,
}

/// Vectors of a page and their places in it.
#[derive(Clone, Default)]
struct KeptRows {
    rows: Vec<f32>,
    places: Vec<u32>,
}

/// Slices that a card encodes at once: 4,120 positions of 448 px nearly fill a large one, and their
/// activations take 0.7 GB. A core has one at a time: a small model's then stay in its caches.
const CARD_SLICES: usize = 4;

/// Queries encoded at once.
const QUERIES_TOGETHER: usize = 32;

/// Each row divided by its length, without an epsilon, as the reference does.
pub(crate) fn unit_rows(x: &Tensor) -> CandleResult<Tensor> {
    let (n, dim) = x.dims2()?;
    let mut rows = x.flatten_all()?.to_vec1::<f32>()?;
    for row in rows.chunks_mut(dim.max(1)) {
        let squares: f64 = row.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
        let length = squares.sqrt() as f32;
        row.iter_mut().for_each(|value| *value /= length);
    }
    Tensor::from_vec(rows, (n, dim), &CandleDevice::Cpu)
}

impl PageEncoder for ColPali {
    fn model_id(&self) -> &ModelId {
        &self.id
    }

    fn input(&self) -> EncoderInput {
        let edge_px = self.config.vlm_config.vision_config.image_size as u32;
        EncoderInput { edge_px, slices: self.recipe.slices.clone() }
    }

    fn dim(&self) -> usize {
        self.config.embedding_dim
    }

    /// On the processor the slices of a page run side by side; a core without one helps another.
    fn encode_pages(&self, pages: &[PageImage]) -> Result<Vec<PageVectors>, BoxError> {
        Ok(self.encode_all(pages)?)
    }
}

impl QueryEncoder for ColPali {
    fn model_id(&self) -> &ModelId {
        &self.id
    }

    fn encode_queries(&self, queries: &[&str]) -> Result<Vec<QueryVectors>, BoxError> {
        let mut vectors = Vec::with_capacity(queries.len());
        for queries in queries.chunks(QUERIES_TOGETHER) {
            vectors.extend(self.encode_together(queries)?);
        }
        Ok(vectors)
    }
}

/// The recipe and the precision that a checkpoint runs with: its own, or what takes their place.
pub(crate) fn in_force(
    checkpoint: &Checkpoint,
    weights: &Weights,
    options: &LoadOptions,
) -> Result<(Recipe, RecipeOrigin, Precision), ModelError> {
    let (mut recipe, origin) = Recipe::in_force(checkpoint, options.recipe.as_ref())?;
    if let Some(slices) = &options.slices {
        recipe.slices = slices.clone();
    }
    let asked = options.precision.or(recipe.precision);
    let (precision, of_the_weights) =
        Precision::choose(asked, weights, checkpoint.weights_folder())?;
    // Said or not, the vectors are the same, so the model is.
    recipe.precision = (!of_the_weights).then_some(precision);
    Ok((recipe, origin, precision))
}

/// The hash of all that decides about vectors: configuration, tokenizer, preprocessing, weights
/// and the recipe in force. Where the files lie does not matter.
pub(crate) fn model_id(
    checkpoint: &Checkpoint,
    recipe: &Recipe,
    digests: &Digests,
) -> Result<ModelId, ModelError> {
    let mut hasher = blake3::Hasher::new();
    let small = ["config.json", "preprocessor_config.json", "processor_config.json"];
    let small = small.iter().chain(&["tokenizer.json", AdapterConfig::FILE]);
    let small = small.map(|name| checkpoint.file(name)).filter(|path| is_there(path));
    for path in small.chain(checkpoint.weight_files()) {
        // The name keeps two files from being taken for each other.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (digest, bytes) = digests.of(&path)?;
        hasher.update(format!("{name}\0{bytes}\0{digest}\0").as_bytes());
    }
    hasher.update(recipe.identity().as_bytes());
    Ok(ModelId(hasher.finalize().to_hex().to_string()))
}
