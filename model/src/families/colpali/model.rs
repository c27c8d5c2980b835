//! The whole model: it turns pages and queries into multi-vectors.

use std::borrow::Cow;
use std::time::Duration;

use candle_core::{Result as CandleResult, Tensor};
use pagesight_core::seam::{BoxError, Model, PageEncoder, QueryEncoder};
use pagesight_core::{
    EncodedPage, ModelId, ModelRecord, ModelSource, PageImage, PageSize, PageVectors, PatchLayout,
    PictureSize, QueryVectors,
};
use pagesight_simd::resize_bicubic;
use rayon::prelude::*;

use crate::checkpoint::{Checkpoint, absolute};
use crate::device::Device;
use crate::error::ModelError;
use crate::families::colpali::config::Config;
use crate::families::colpali::cpu::CpuModel;
use crate::families::colpali::gpu::GpuModel;
use crate::families::colpali::opened::Opened;
use crate::families::colpali::recipe::Recipe;
use crate::families::colpali::tokens::Tokens;
use crate::families::engine::Engine;
use crate::families::ink::printed;
use crate::families::normalisation::Normalisation;
use crate::families::recipe::RecipeOrigin;
use crate::gpu;
use crate::options::LoadOptions;
use crate::precision::Precision;
use crate::text::Query;

/// A ColPali in memory. All methods take `&self`, so threads can share it.
#[derive(Debug)]
pub struct ColPali {
    record: ModelRecord,
    precision: Precision,
    pub(crate) config: Config,
    pub(crate) normalisation: Normalisation,
    pub(crate) recipe: Recipe,
    recipe_origin: RecipeOrigin,
    pub(crate) tokens: Tokens,
    engine: Engine<CpuModel, GpuModel>,
    /// Slices that a GPU encodes at once.
    gpu_slices: usize,
    /// Ids of a slice of a page: its image tokens, then the prompt.
    page_ids: Vec<u32>,
    /// How the vectors of a page are laid out, the same for every page.
    layout: PatchLayout,
}

impl ColPali {
    /// nano, the small model inside the program. It reads print and knows no meaning: see
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
        Self::load(&ModelSource::Nano, &LoadOptions::default())
    }

    /// Loads the ColPali checkpoint of `source`: whole weights in any published layout (HF-native
    /// or colpali-engine, one file or shards), or a LoRA adapter over its base.
    /// [`load`](crate::load) does it for every family.
    ///
    /// # Errors
    /// [`ModelError`] with file and key for whatever is missing, left over, of another shape, cut
    /// off, or not this model's. Nothing is ever filled in.
    pub fn load(source: &ModelSource, options: &LoadOptions) -> Result<Self, ModelError> {
        Self::of(&Checkpoint::open(source, options)?, options)
    }

    /// Loads an opened checkpoint.
    pub(crate) fn of(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Self, ModelError> {
        let device = gpu::open(options.device)?;
        let Opened {
            config,
            normalisation,
            weights,
            recipe,
            recipe_origin,
            precision,
            tokens,
            page_ids,
            id,
        } = Opened::read(checkpoint, options)?;
        let engine = Engine::take(device, checkpoint, precision, weights, |weights| {
            CpuModel::take(weights, precision, &config, options.query_only)
        })?;
        let side = config.vlm_config.vision_config.side() as u32;
        let text = page_ids.len() as u32 - side * side;
        let record = ModelRecord {
            id,
            dim: config.embedding_dim,
            source: Some(checkpoint.source().clone()),
            // A base that was found by its name is found again, so only a chosen one is remembered.
            base: options.base.as_ref().map(absolute).transpose()?,
            recipe: Some(recipe.to_json()),
            fusion: recipe.fusion,
            neutral: recipe.neutral.clone(),
        };
        Ok(Self {
            record,
            precision,
            config,
            normalisation,
            layout: PatchLayout::slices(&recipe.slices, side, text),
            recipe,
            recipe_origin,
            tokens,
            engine,
            gpu_slices: options.on_a_gpu_at_once(),
            page_ids,
        })
    }

    /// The precision that it runs in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The device that it runs on; never [`Device::Auto`].
    pub fn device(&self) -> Device {
        self.engine.device()
    }

    /// The model on the CPU; `None` when a GPU has it.
    pub(crate) fn cpu(&self) -> Option<&CpuModel> {
        self.engine.cpu()
    }

    /// The recipe in force: everything that it does around its weights.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Where the recipe comes from.
    pub fn recipe_origin(&self) -> &RecipeOrigin {
        &self.recipe_origin
    }

    /// Edge of its square input, in pixels.
    pub fn input_px(&self) -> u32 {
        self.config.vlm_config.vision_config.image_size as u32
    }

    /// How the vectors of a page are laid out. It is the same for every page.
    pub fn layout(&self) -> &PatchLayout {
        &self.layout
    }

    /// The size of the picture of every page: the slices of its finest grid side by side.
    fn size(&self) -> PictureSize {
        let (edge, slices) = (self.input_px(), &self.recipe.slices);
        PictureSize { width_px: edge * slices.cols(), height_px: edge * slices.rows() }
    }

    /// Encodes one slice, `[3, edge, edge]` f32, to its vectors, `[n_vectors, dim]` f32.
    pub(crate) fn encode_slice(&self, pixels: &Tensor, ids: &[u32]) -> Result<Tensor, ModelError> {
        let pictures = std::slice::from_ref(pixels);
        match &self.engine {
            Engine::Cpu(cpu) => cpu.encode_slices(pictures, ids),
            Engine::Gpu(gpu) => gpu.encode_slices(pictures, ids),
        }
    }

    /// Encodes texts, given by their ids, to their vectors one after the other,
    /// `[sum of n_tokens, dim]` f32.
    fn encode_texts(&self, texts: &[&[u32]], causal: bool) -> CandleResult<Tensor> {
        match &self.engine {
            Engine::Cpu(cpu) => cpu.encode_texts(texts, causal),
            Engine::Gpu(gpu) => gpu.encode_texts(texts, causal),
        }
    }

    /// Encodes one text to its vectors, `[n_tokens, dim]` f32.
    pub(crate) fn encode_ids(&self, ids: &[u32], causal: bool) -> CandleResult<Tensor> {
        self.encode_texts(&[ids], causal)
    }

    /// Encodes the first slice of a page on the CPU and returns how long the three parts took: the
    /// vision tower with its projector, the language model, and the head. `None` when the model is
    /// on a GPU. For benches.
    ///
    /// # Errors
    /// [`ModelError`] as for encoding the page.
    pub fn time_page(&self, page: &PageImage) -> Result<Option<[Duration; 3]>, ModelError> {
        let Some(cpu) = self.cpu() else { return Ok(None) };
        let pixels = self.normalisation.pixel_values(&self.slices(page)?[0])?;
        cpu.time(&pixels, &self.page_ids).map(Some)
    }

    /// Cuts the picture of a page into the inputs of the model, grid by grid and row by row. For a
    /// grid that is not the finest the picture is made smaller first, as the reference does it.
    fn slices<'a>(&self, page: &'a PageImage) -> Result<Vec<Cow<'a, PageImage>>, ModelError> {
        let PictureSize { width_px, height_px } = self.size();
        let expected = (width_px, height_px);
        let got = (page.width_px(), page.height_px());
        if expected != got {
            return Err(ModelError::ImageSize { expected, got });
        }
        let (edge, grids) = (self.input_px(), &self.recipe.slices);
        let mut slices = Vec::with_capacity(grids.count());
        for grid in grids.grids() {
            let size = (grid.cols * edge, grid.rows * edge);
            let resized = if size == got {
                Cow::Borrowed(page)
            } else {
                Cow::Owned(resize_bicubic(page, size.0, size.1))
            };
            if size == (edge, edge) {
                slices.push(resized);
                continue;
            }
            for (row, column) in (0..grid.rows).flat_map(|r| (0..grid.cols).map(move |c| (r, c))) {
                slices.push(Cow::Owned(resized.crop(column * edge, row * edge, edge, edge)));
            }
        }
        Ok(slices)
    }

    /// Encodes pages in batches: one page, or the slices of several where a GPU takes them at once.
    /// While a batch is encoded, the next is prepared and the one before is finished.
    fn encode_all(&self, pages: &[PageImage]) -> Result<Vec<EncodedPage>, ModelError> {
        let mut encoded = Vec::with_capacity(pages.len());
        let mut batches = pages.chunks(self.together().div_ceil(self.recipe.slices.count()));
        let mut next = batches.next().map(|pages| self.prepare(pages));
        let mut before: Option<Vec<KeptRows>> = None;
        while let Some(batch) = next {
            let (batch, following, kept) = (batch?, batches.next(), before.take());
            let finish = || {
                let finished = kept.into_par_iter().flatten().map(|rows| self.finish(rows));
                finished.collect::<Result<Vec<_>, _>>()
            };
            let (rows, (finished, prepared)) = rayon::join(
                || self.encode_batch(&batch),
                || rayon::join(finish, || following.map(|pages| self.prepare(pages))),
            );
            encoded.extend(finished?);
            before = Some(rows?);
            next = prepared;
        }
        let last = before.into_par_iter().flatten().map(|rows| self.finish(rows));
        encoded.extend(last.collect::<Result<Vec<_>, _>>()?);
        Ok(encoded)
    }

    /// Slices that are encoded at once.
    fn together(&self) -> usize {
        if self.engine.is_faster_with_several() { self.gpu_slices } else { 1 }
    }

    /// Cuts the pages of a batch.
    fn prepare<'a>(&self, pages: &'a [PageImage]) -> Result<Batch<'a>, ModelError> {
        let cuts = pages.par_iter().enumerate().map(|(page, image)| self.cut(page, image));
        let cuts: Vec<Vec<Cut<'_>>> = cuts.collect::<Result<_, _>>()?;
        Ok(Batch { pages: pages.len(), cuts: cuts.into_iter().flatten().collect() })
    }

    /// Encodes a batch to the vectors that are kept of each page.
    fn encode_batch(&self, batch: &Batch<'_>) -> Result<Vec<KeptRows>, ModelError> {
        let (cuts, together) = (&batch.cuts, self.together());
        let kept: Vec<Vec<KeptRows>> = match &self.engine {
            Engine::Cpu(_) => {
                let kept = cuts.par_chunks(together).map(|cuts| self.encode_cuts(cuts));
                kept.collect::<Result<_, _>>()?
            }
            Engine::Gpu(_) => {
                let kept = cuts.chunks(together).map(|cuts| self.encode_cuts(cuts));
                kept.collect::<Result<_, _>>()?
            }
        };
        let mut rows = vec![KeptRows::default(); batch.pages];
        for (cut, kept) in cuts.iter().zip(kept.into_iter().flatten()) {
            rows[cut.page].rows.extend(kept.rows);
            rows[cut.page].places.extend(kept.places);
        }
        Ok(rows)
    }

    /// Encodes `cuts` and returns the vectors that are kept of each.
    fn encode_cuts(&self, cuts: &[Cut<'_>]) -> Result<Vec<KeptRows>, ModelError> {
        let kept: Vec<&[usize]> = cuts.iter().map(|cut| cut.places.as_slice()).collect();
        let rows = match &self.engine {
            Engine::Cpu(cpu) => {
                let pictures = cuts.iter().map(|cut| self.normalisation.pixel_values(&cut.picture));
                let pictures = pictures.collect::<CandleResult<Vec<_>>>()?;
                cpu.encode_kept(&pictures, &self.page_ids, &kept)?
            }
            Engine::Gpu(gpu) => {
                let pictures: Vec<&PageImage> = cuts.iter().map(|cut| &*cut.picture).collect();
                gpu.encode_pictures(&pictures, self.normalisation, &self.page_ids, &kept)?
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

    /// Cuts a page into slices, and leaves out those of which the recipe keeps no vector.
    fn cut<'a>(&self, page: usize, image: &'a PageImage) -> Result<Vec<Cut<'a>>, ModelError> {
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

    /// Pools the `vectors` at the places of `cut` as the recipe says; without pooling all of them
    /// are kept. Slices are pooled one by one, because the time of hierarchical pooling grows with
    /// the cube of the number of vectors.
    fn pool(&self, cut: &Cut<'_>, vectors: &[f32]) -> KeptRows {
        let pooled = self.recipe.pooler.pool(self.dim(), vectors, self.recipe.pooling);
        let places = pooled.representatives.iter().map(|&row| (cut.first + cut.places[row]) as u32);
        KeptRows { places: places.collect(), rows: pooled.vectors }
    }

    /// Makes a page of the vectors that were kept of its slices.
    fn finish(&self, KeptRows { rows, places }: KeptRows) -> Result<EncodedPage, ModelError> {
        let mut vectors = PageVectors::from_f32(self.dim(), &rows)?;
        if places.len() != self.layout.vectors() {
            vectors = vectors.with_places(places)?;
        }
        Ok(EncodedPage::new(vectors, self.layout.clone())?)
    }

    /// Ids of a slice of a page: its image tokens, then the prompt.
    pub(crate) fn page_ids(&self) -> &[u32] {
        &self.page_ids
    }

    /// Tokenizes a question with the prefix, padding and suffix of the recipe.
    pub(crate) fn query(&self, question: &str) -> Result<Query, ModelError> {
        let start = self.recipe.query_prefix.len();
        self.tokens.query(&self.recipe.query_text(question), start..start + question.len())
    }

    /// Encodes queries in one batch: the weights are read once for all of them.
    fn encode_together(&self, questions: &[&str]) -> Result<Vec<QueryVectors>, ModelError> {
        let queries = questions.iter().map(|question| self.query(question));
        let queries = queries.collect::<Result<Vec<_>, _>>()?;
        let texts: Vec<&[u32]> = queries.iter().map(|query| query.ids.as_slice()).collect();
        let rows = self.encode_texts(&texts, self.recipe.causal_queries)?;
        let rows = rows.flatten_all()?.to_vec1::<f32>()?;
        let mut start = 0;
        let vectors = queries.into_iter().map(|query| {
            let end = start + query.ids.len() * self.dim();
            let rows = rows[start..end].to_vec();
            start = end;
            Ok(QueryVectors::new(self.dim(), rows, query.tokens)?)
        });
        vectors.collect()
    }
}

/// The slices of some pages.
struct Batch<'a> {
    pages: usize,
    cuts: Vec<Cut<'a>>,
}

/// A slice of a page, and the places of the vectors that are kept of it.
struct Cut<'a> {
    page: usize,
    /// The place of its first vector in its page.
    first: usize,
    picture: Cow<'a, PageImage>,
    places: Vec<usize>,
}

/// Vectors of a page, and their places in it.
#[derive(Clone, Default)]
struct KeptRows {
    rows: Vec<f32>,
    places: Vec<u32>,
}

/// Queries encoded at once.
const QUERIES_TOGETHER: usize = 32;

impl PageEncoder for ColPali {
    fn model_id(&self) -> &ModelId {
        &self.record.id
    }

    fn dim(&self) -> usize {
        self.record.dim
    }

    /// The same picture of every page: the reference squeezes pages of any shape into a square.
    fn picture(&self, _: PageSize) -> PictureSize {
        self.size()
    }

    /// On the CPU slices are encoded in parallel; a core without a slice helps with another one.
    fn encode_pages(&self, pages: &[PageImage]) -> Result<Vec<EncodedPage>, BoxError> {
        Ok(self.encode_all(pages)?)
    }
}

impl QueryEncoder for ColPali {
    fn encode_queries(&self, queries: &[&str]) -> Result<Vec<QueryVectors>, BoxError> {
        let mut vectors = Vec::with_capacity(queries.len());
        for queries in queries.chunks(QUERIES_TOGETHER) {
            vectors.extend(self.encode_together(queries)?);
        }
        Ok(vectors)
    }
}

impl Model for ColPali {
    fn record(&self) -> ModelRecord {
        self.record.clone()
    }

    fn encodes_pages(&self) -> bool {
        let is_query_only = match &self.engine {
            Engine::Cpu(cpu) => cpu.is_query_only(),
            Engine::Gpu(gpu) => gpu.is_query_only(),
        };
        !is_query_only
    }
}
