//! The whole model: load it, and pages and queries become multi-vectors.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_core::{D, Result as CandleResult, Tensor};
use pagesight_core::seam::{BoxError, EncoderInput, PageEncoder, QueryEncoder};
use pagesight_core::{
    ModelId, PageImage, PageVectors, PatchGrid, QueryVectors, Slices, resize_bicubic,
};
use pagesight_maxsim::pool_hierarchical;

use crate::adapter::AdapterConfig;
use crate::checkpoint::{BasePlaces, Checkpoint};
use crate::config::{Config, PreprocessorConfig};
use crate::digest::Digests;
use crate::embedded::{NANO, is_there};
use crate::ink::printed;
use crate::inventory;
use crate::lanes::Lanes;
use crate::language::Language;
use crate::linear::{Linear, lanes, tensor};
use crate::precision::Precision;
use crate::preprocess::pixel_values;
use crate::recipe::{Recipe, RecipeOrigin};
use crate::tokens::Tokens;
use crate::vision::Vision;
use crate::weights::Weights;
use crate::{HubCache, ModelError};

/// What a caller may choose beyond the checkpoint.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Takes the place of the checkpoint's recipe.
    pub recipe: Option<Recipe>,
    /// Takes the place of the recipe's grids.
    pub slices: Option<Slices>,
    /// Takes the place of the precision that the weights have: f32, bf16 and f16 weights are run
    /// as what they are, quantized ones as theirs.
    pub precision: Option<Precision>,
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
    id: ModelId,
    precision: Precision,
    pub(crate) config: Config,
    pub(crate) preprocessor: PreprocessorConfig,
    pub(crate) recipe: Recipe,
    recipe_origin: RecipeOrigin,
    pub(crate) tokens: Tokens,
    /// The vision tower and its projector; `None` when loaded for queries alone.
    vision: Option<(Vision, Linear)>,
    pub(crate) language: Language,
    head: Linear,
    /// Ids of a page after its image tokens are in place.
    page_ids: Vec<u32>,
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
        let places = BasePlaces { folder: options.base.as_deref(), hub: options.hub.as_ref() };
        let checkpoint = Checkpoint::open(folder, places)?;
        let config = Config::read(&checkpoint.file("config.json"))?;
        let preprocessor = PreprocessorConfig::read(&checkpoint, &config)?;
        let (mut recipe, origin) = Recipe::in_force(&checkpoint, options.recipe.as_ref())?;
        if let Some(slices) = &options.slices {
            recipe.slices = slices.clone();
        }
        let tokens = Tokens::read(&checkpoint.file("tokenizer.json"), &config.vlm_config)?;
        let side = config.vlm_config.vision_config.side();
        let page_ids = tokens.page_ids(side * side, &recipe.page_prompt)?;
        let digests = Digests::new(options.digests.clone());
        let mut weights = Weights::open(&checkpoint)?;
        let precision = Precision::choose(options.precision, &weights, folder)?;
        let id = model_id(&checkpoint, &recipe, &digests)?;
        let id = in_precision(id, options.precision);
        let vlm = &config.vlm_config;
        let (text, seen) = (&vlm.text_config, &vlm.vision_config);
        let (width, dim) = (text.hidden_size, config.embedding_dim);
        let vision = match options.query_only {
            true => {
                weights.skip(&inventory::vision(&config))?;
                None
            }
            false => {
                let vision =
                    Vision::take(&mut weights, precision, "vision_tower.vision_model", seen)?;
                let key = "multi_modal_projector.linear";
                Some((
                    vision,
                    Linear::take(&mut weights, precision, key, seen.hidden_size, width, true)?,
                ))
            }
        };
        let language = Language::take(&mut weights, precision, "language_model", text)?;
        let head = Linear::take(&mut weights, precision.of_the_ends(), "head", width, dim, true)?;
        weights.finish()?;
        let folder = folder.to_path_buf();
        Ok(Self {
            folder,
            id,
            precision,
            config,
            preprocessor,
            recipe,
            recipe_origin: origin,
            tokens,
            vision,
            language,
            head,
            page_ids,
        })
    }

    /// Where it was loaded from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether it was loaded without its vision tower.
    pub fn is_query_only(&self) -> bool {
        self.vision.is_none()
    }

    /// What it runs in.
    pub fn precision(&self) -> Precision {
        self.precision
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

    /// The vision tower and the projector behind it.
    ///
    /// # Errors
    /// [`ModelError::QueryOnly`] when they were not loaded.
    pub(crate) fn vision(&self) -> Result<(&Vision, &Linear), ModelError> {
        self.vision.as_ref().map(|(v, p)| (v, p)).ok_or(ModelError::QueryOnly)
    }

    /// One slice, `[3, edge, edge]` f32, to its rows, `[n_vectors, dim]` f32.
    pub(crate) fn encode_slice(&self, pixels: &Tensor, ids: &[u32]) -> Result<Tensor, ModelError> {
        self.encode_slices(std::slice::from_ref(pixels), ids)
    }

    /// Slices, `[3, edge, edge]` f32 each, to the rows of all, `[sum of n_vectors, dim]` f32.
    fn encode_slices(&self, pictures: &[Tensor], ids: &[u32]) -> Result<Tensor, ModelError> {
        let (vision, projector) = self.vision()?;
        let seen = vision.encode(pictures)?;
        let features = projector.apply(&projector.operand(&seen), seen.lengths());
        let x = self.page_lanes(&features, ids)?;
        Ok(self.rows(&self.language.encode(x, false))?)
    }

    /// Text ids to rows, `[n_tokens, dim]` f32.
    pub(crate) fn encode_ids(&self, ids: &[u32], causal: bool) -> CandleResult<Tensor> {
        let x = lanes(&self.language.embed(ids)?)?;
        self.rows(&self.language.encode(x, causal))
    }

    /// The language model's input for a page, `[n_tokens, hidden]`.
    pub(crate) fn page_input(&self, features: &Tensor, ids: &[u32]) -> CandleResult<Tensor> {
        tensor(&self.page_lanes(&lanes(features)?, ids)?)
    }

    /// The language model's input for pages: image features, not scaled, where the image tokens
    /// stand, and scaled token rows after them. (The reference divides the features by the root
    /// of the width and Gemma multiplies the whole sequence by it again.)
    fn page_lanes(&self, features: &Lanes, ids: &[u32]) -> CandleResult<Lanes> {
        let patches = ids.iter().take_while(|&&id| id == self.tokens.image()).count();
        if let Some(got) = features.lengths().iter().find(|&&length| length != patches) {
            candle_core::bail!("{patches} image tokens for {got} patches");
        }
        let text = self.language.embed(&ids[patches..])?;
        Ok(features.extended(&text.flatten_all()?.to_vec1::<f32>()?))
    }

    /// Encodes the first slice of a page and tells how long the vision tower with its projector,
    /// the language model and the head took. For benches.
    ///
    /// # Errors
    /// As encoding it.
    pub fn time_page(&self, page: &PageImage) -> Result<[Duration; 3], ModelError> {
        let slice = &self.slices(page)?[0];
        let pictures = [pixel_values(slice, &self.preprocessor)?];
        let (vision, projector) = self.vision()?;
        let start = Instant::now();
        let seen = vision.encode(&pictures)?;
        let features = projector.apply(&projector.operand(&seen), seen.lengths());
        let after_vision = Instant::now();
        let x = self.language.encode(self.page_lanes(&features, &self.page_ids)?, false);
        let after_language = Instant::now();
        self.rows(&x)?;
        let end = Instant::now();
        Ok([after_vision - start, after_language - after_vision, end - after_language])
    }

    /// The head without its normalisation, `[n, dim]`.
    pub(crate) fn head(&self, x: &Tensor) -> CandleResult<Tensor> {
        self.head.forward(x)
    }

    fn rows(&self, x: &Lanes) -> CandleResult<Tensor> {
        unit_rows(&tensor(&self.head.apply(&self.head.operand(x), x.lengths()))?)
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

    fn encode_page(&self, page: &PageImage) -> Result<PageVectors, ModelError> {
        let slices = self.slices(page)?;
        let patch = self.config.vlm_config.vision_config.patch_size as u32;
        let of_slice = self.page_ids.len();
        let places = match self.recipe.prune_blank {
            None => vec![(0..of_slice).collect(); slices.len()],
            Some(range) => printed(&slices, patch, range),
        };
        let (mut rows, mut kept) = (Vec::new(), Vec::new());
        for (n, (slice, places)) in slices.iter().zip(places).enumerate() {
            // A slice without print need not be looked at.
            if places.is_empty() {
                continue;
            }
            let pictures = [pixel_values(slice, &self.preprocessor)?];
            let vectors = self.encode_slices(&pictures, &self.page_ids)?;
            let vectors = vectors.flatten_all()?.to_vec1::<f32>()?;
            for place in places {
                rows.extend_from_slice(&vectors[place * self.dim()..][..self.dim()]);
                kept.push((n * of_slice + place) as u32);
            }
        }
        if self.recipe.pooling > 1 {
            let pooled = pool_hierarchical(self.dim(), &rows, self.recipe.pooling);
            kept = pooled.representatives.iter().map(|&row| kept[row]).collect();
            rows = pooled.vectors;
        }
        let vectors = PageVectors::from_f32(self.dim(), &rows)?;
        match kept.len() == slices.len() * of_slice {
            true => Ok(vectors),
            false => Ok(vectors.with_places(kept)?),
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
        let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
        let x = self.language.embed(&ids.concat())?;
        let (_, width) = x.dims2()?;
        let x = Lanes::from_rows(&lengths, width, &x.flatten_all()?.to_vec1::<f32>()?);
        let rows = self.rows(&self.language.encode(x, self.recipe.causal_queries))?;
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

/// Queries encoded at once.
const QUERIES_TOGETHER: usize = 32;

/// Each row divided by its length, without an epsilon, as the reference does.
pub(crate) fn unit_rows(x: &Tensor) -> CandleResult<Tensor> {
    x.broadcast_div(&x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)
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

    /// Slices run one after the other, each with all cores.
    fn encode_pages(&self, pages: &[PageImage]) -> Result<Vec<PageVectors>, BoxError> {
        pages.iter().map(|page| Ok(self.encode_page(page)?)).collect()
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
    hasher.update(recipe.to_json().as_bytes());
    Ok(ModelId(hasher.finalize().to_hex().to_string()))
}

/// Another precision than the weights' own gives other vectors, so it is another model.
fn in_precision(id: ModelId, asked: Option<Precision>) -> ModelId {
    match asked {
        None => id,
        Some(precision) => {
            let hash = blake3::hash(format!("{}\0{precision}", id.0).as_bytes());
            ModelId(hash.to_hex().to_string())
        }
    }
}
