//! PaliGemma on the CPU: our kernels over weights where they lie in their files.

use candle_core::Tensor;

use crate::answerer::sequences::{Begun, Sequences};
use crate::blocks::cache::Cache;
use crate::blocks::lanes::Lanes;
use crate::blocks::linear::{Linear, stored_matrix, take_matrix};
use crate::blocks::matmul::Operand;
use crate::blocks::quantize::quantize;
use crate::blocks::siglip::Siglip;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::colpali::config::Config;
use crate::families::colpali::cpu::language::Language;
use crate::precision::Precision;

/// The name of the table of tokens, which is also the output layer unless there is another.
const TABLE: &str = "language_model.embed_tokens.weight";
const OUTPUT: &str = "lm_head.weight";

/// The vision tower, the projector behind it, the language model and the output layer.
#[derive(Debug)]
pub struct CpuModel {
    pub vision: Siglip,
    pub projector: Linear,
    pub language: Language,
    pub output: Linear,
}

impl CpuModel {
    /// Takes all of `weights`.
    pub fn take(
        mut weights: Weights,
        precision: Precision,
        config: &Config,
    ) -> Result<Self, ModelError> {
        let (text, seen) = (&config.vlm_config.text_config, &config.vlm_config.vision_config);
        let tower = "vision_tower.vision_model";
        let vision = Siglip::take(&mut weights, precision, tower, &seen.sizes())?;
        let (name, width) = ("multi_modal_projector.linear", text.hidden_size);
        let projector = Linear::take(&mut weights, precision, name, seen.hidden_size, width, true)?;
        let language = Language::take(&mut weights, precision, "language_model", text)?;
        let output = output(&mut weights, precision, &language, [text.vocab_size, width])?;
        // The head of a retriever, which a base may have.
        weights.forget("head.weight");
        weights.forget("head.bias");
        weights.finish()?;
        Ok(Self { vision, projector, language, output })
    }

    /// The input of the language model for a picture and ids whose image tokens come first.
    pub fn input(&self, pixels: &Tensor, ids: &[u32]) -> Result<Lanes, ModelError> {
        let seen = self.vision.encode(std::slice::from_ref(pixels))?;
        let features = self.projector.apply(&self.projector.operand(&seen), seen.lengths());
        Ok(self.language.input(&features, &ids[seen.lengths()[0]..])?)
    }

    /// The logits of the positions of one sequence, at most
    /// [`LANES`](crate::blocks::lanes::LANES), before the bound.
    pub fn logits(&self, x: &Lanes) -> Vec<Vec<f32>> {
        let positions = x.lengths()[0];
        let y = Operand::round(self.output.arithmetic().of_few(), x).of_few(positions);
        self.output.apply_to_first(&y, positions)
    }
}

impl Sequences for CpuModel {
    type Caches = Vec<Cache>;

    fn begin(&self, pixels: &Tensor, ids: &[u32]) -> Result<Begun<Vec<Cache>>, ModelError> {
        let input = self.input(pixels, ids)?;
        let (last, caches) = self.language.prefill(input);
        let logits = self.logits(&last).pop().expect("one position");
        Ok(Begun { caches, logits })
    }

    fn step(
        &self,
        sequences: &mut [&mut Vec<Cache>],
        ids: &[u32],
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let rows = self.language.embed(ids)?;
        let (n, width) = rows.dims2()?;
        let x = Lanes::from_rows(&[n], width, &rows.flatten_all()?.to_vec1::<f32>()?);
        let mut caches: Vec<&mut [Cache]> =
            sequences.iter_mut().map(|caches| caches.as_mut_slice()).collect();
        Ok(self.logits(&self.language.step(x, &mut caches)))
    }
}

/// The output layer: one of its own where the file has one that differs from the table of tokens,
/// else the table.
fn output(
    weights: &mut Weights,
    precision: Precision,
    language: &Language,
    shape: [usize; 2],
) -> Result<Linear, ModelError> {
    let table = language.embedding().table();
    if weights.contains(OUTPUT) {
        let own = weights
            .peek(OUTPUT)
            .is_none_or(|own| own.dtype() != table.dtype() || own.bytes() != table.bytes());
        if own {
            let matrix = take_matrix(weights, precision, OUTPUT, &shape)?;
            return Ok(Linear::of(precision, matrix, Vec::new()));
        }
        weights.forget(OUTPUT);
    }
    let matrix = stored_matrix(table.clone(), shape)?;
    // Every token reads all of it, so it is worth as few bits as the other weights; looked up, a
    // token's row stays exact.
    let matrix = match precision.weight_format(TABLE) {
        Some(to) if to != matrix.format() => quantize(&matrix, to),
        _ => matrix,
    };
    Ok(Linear::of(precision, matrix, Vec::new()))
}
