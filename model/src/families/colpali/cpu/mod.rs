//! ColPali on the CPU: our kernels over weights where they lie in their files.

pub mod language;

use std::time::{Duration, Instant};

use candle_core::{Result as CandleResult, Tensor};

use crate::blocks::lanes::Lanes;
use crate::blocks::linear::{Linear, lanes, tensor, unit_rows};
use crate::blocks::siglip::Siglip;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::colpali::config::Config;
use crate::families::colpali::cpu::language::Language;
use crate::families::colpali::inventory;
use crate::precision::Precision;

/// The vision tower, the projector behind it, the language model and the head.
#[derive(Debug)]
pub struct CpuModel {
    /// The vision tower and its projector; `None` when loaded for queries alone.
    vision: Option<(Siglip, Linear)>,
    language: Language,
    head: Linear,
}

impl CpuModel {
    /// Takes all of `weights`. With `query_only` the tensors that only pictures need stay unread.
    pub fn take(
        mut weights: Weights,
        precision: Precision,
        config: &Config,
        query_only: bool,
    ) -> Result<Self, ModelError> {
        let vlm = &config.vlm_config;
        let (text, seen) = (&vlm.text_config, &vlm.vision_config);
        let (width, dim) = (text.hidden_size, config.embedding_dim);
        let vision = if query_only {
            weights.skip(&inventory::vision(config))?;
            None
        } else {
            let prefix = "vision_tower.vision_model";
            let tower = Siglip::take(&mut weights, precision, prefix, &seen.sizes())?;
            let (key, input) = ("multi_modal_projector.linear", seen.hidden_size);
            let projector = Linear::take(&mut weights, precision, key, input, width, true)?;
            Some((tower, projector))
        };
        let language = Language::take(&mut weights, precision, "language_model", text)?;
        let head = Linear::take(&mut weights, precision.of_the_ends(), "head", width, dim, true)?;
        weights.finish()?;
        Ok(Self { vision, language, head })
    }

    /// The vision tower and the projector behind it.
    ///
    /// # Errors
    /// [`ModelError::QueryOnly`] when they were not loaded.
    pub fn vision(&self) -> Result<(&Siglip, &Linear), ModelError> {
        self.vision.as_ref().map(|(v, p)| (v, p)).ok_or(ModelError::QueryOnly)
    }

    /// Whether it was loaded for queries alone, without its vision tower.
    pub fn is_query_only(&self) -> bool {
        self.vision.is_none()
    }

    /// The language model.
    pub fn language(&self) -> &Language {
        &self.language
    }

    /// The head.
    pub fn head(&self) -> &Linear {
        &self.head
    }

    /// Encodes slices, `[3, edge, edge]` f32 each, to their vectors one after the other,
    /// `[sum of n_vectors, dim]` f32. `ids` are those of a slice, the image tokens first.
    pub fn encode_slices(&self, pictures: &[Tensor], ids: &[u32]) -> Result<Tensor, ModelError> {
        let x = self.slice_lanes(pictures, ids)?;
        Ok(self.rows(&self.language.encode(x, false))?)
    }

    /// As [`encode_slices`](Self::encode_slices), but only the vectors at the places in `kept` of
    /// each slice, which are in ascending order. The numbers are the same; the last layer computes
    /// only these.
    pub fn encode_kept(
        &self,
        pictures: &[Tensor],
        ids: &[u32],
        kept: &[&[usize]],
    ) -> Result<Tensor, ModelError> {
        if kept.iter().all(|places| places.len() == ids.len()) {
            return self.encode_slices(pictures, ids);
        }
        let x = self.slice_lanes(pictures, ids)?;
        Ok(self.rows(&self.language.encode_kept(x, kept))?)
    }

    fn slice_lanes(&self, pictures: &[Tensor], ids: &[u32]) -> Result<Lanes, ModelError> {
        let (vision, projector) = self.vision()?;
        let seen = vision.encode(pictures)?;
        let features = projector.apply(&projector.operand(&seen), seen.lengths());
        Ok(self.page_lanes(&features, ids)?)
    }

    /// Encodes texts, given by their ids, to their vectors one after the other,
    /// `[sum of n_tokens, dim]` f32. The weights are read once for all of them.
    pub fn encode_texts(&self, texts: &[&[u32]], causal: bool) -> CandleResult<Tensor> {
        let lengths: Vec<usize> = texts.iter().map(|ids| ids.len()).collect();
        let x = self.language.embed(&texts.concat())?;
        let (_, width) = x.dims2()?;
        let x = Lanes::from_rows(&lengths, width, &x.flatten_all()?.to_vec1::<f32>()?);
        self.rows(&self.language.encode(x, causal))
    }

    /// The input of the language model for a slice, `[n_tokens, hidden]`.
    pub fn page_input(&self, features: &Tensor, ids: &[u32]) -> CandleResult<Tensor> {
        tensor(&self.page_lanes(&lanes(features)?, ids)?)
    }

    /// The input of the language model for slices: image features in place of the image tokens, and
    /// the rows of the prompt after them.
    fn page_lanes(&self, features: &Lanes, ids: &[u32]) -> CandleResult<Lanes> {
        let patches = image_tokens(ids);
        if let Some(got) = features.lengths().iter().find(|&&length| length != patches) {
            candle_core::bail!("{patches} image tokens for {got} patches");
        }
        self.language.input(features, &ids[patches..])
    }

    /// Encodes one slice and returns how long the vision tower with its projector, the language
    /// model and the head took.
    pub fn time(&self, picture: &Tensor, ids: &[u32]) -> Result<[Duration; 3], ModelError> {
        let (vision, projector) = self.vision()?;
        let start = Instant::now();
        let seen = vision.encode(std::slice::from_ref(picture))?;
        let features = projector.apply(&projector.operand(&seen), seen.lengths());
        let after_vision = Instant::now();
        let x = self.language.encode(self.page_lanes(&features, ids)?, false);
        let after_language = Instant::now();
        self.rows(&x)?;
        let end = Instant::now();
        Ok([after_vision - start, after_language - after_vision, end - after_language])
    }

    fn rows(&self, x: &Lanes) -> CandleResult<Tensor> {
        unit_rows(&tensor(&self.head.apply(&self.head.operand(x), x.lengths()))?, 0.0)
    }
}

/// How many image tokens `ids` begin with. All have the same id, and no other token has it.
pub fn image_tokens(ids: &[u32]) -> usize {
    ids.iter().take_while(|&id| Some(id) == ids.first()).count()
}
