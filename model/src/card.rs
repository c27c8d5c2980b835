//! The model on a graphics card, in candle's operations.
//!
//! What the processor's kernels do is done here to batches, `[batch, n, width]`: products in the
//! type of the precision (cuBLAS sums them in f32), all else in f32: norms, rotations, softmax,
//! activations and what the layers add to. Inputs go up and vectors come down; between them
//! nothing leaves the card. Quantized weights are widened to bf16 on the way up: a card is asked
//! for speed, and integer products of its own are not written.

use std::sync::Mutex;

use candle_core::{D, DType, Device as CandleDevice, Result as CandleResult, Tensor};
use candle_nn::ops::{layer_norm, rms_norm, softmax_last_dim};
use candle_nn::rotary_emb::rope;

use crate::attention::Heads;
use crate::language::{self, Embedding, Rotations};
use crate::linear::Linear;
use crate::matmul::{Arithmetic, Format};
use crate::precision::Precision;
use crate::preprocess::patches;
use crate::processor::{Processor, image_tokens};
use crate::{Device, ModelError, vision};

/// Both towers, the projector between them and the head, on a card.
#[derive(Debug)]
pub struct Card {
    device: CandleDevice,
    /// `None` when loaded for queries alone.
    vision: Option<Vision>,
    embedding: Embedding,
    layers: Vec<LanguageLayer>,
    norm: RootNorm,
    head: Product,
    rotations: Rotations,
    /// `[n, head_dim / 2]`, cos and sin, for the longest sequence so far.
    angles: Mutex<Option<(Tensor, Tensor)>>,
}

impl Card {
    /// Brings the weights of `processor` to `device`.
    pub fn place(
        device: &CandleDevice,
        precision: Precision,
        processor: &Processor,
    ) -> Result<Self, ModelError> {
        let place = Place {
            device,
            dtype: match precision.arithmetic() {
                Arithmetic::F32 => DType::F32,
                Arithmetic::Bf16 => DType::BF16,
            },
        };
        let vision = match processor.is_query_only() {
            true => None,
            false => {
                let (tower, projector) = processor.vision()?;
                Some(Vision::place(place, tower, projector)?)
            }
        };
        let language = processor.language();
        let layers = language.layers.iter().map(|layer| LanguageLayer::place(place, layer));
        Ok(Self {
            device: device.clone(),
            vision,
            embedding: language.embedding().clone(),
            layers: layers.collect::<CandleResult<_>>()?,
            norm: RootNorm::place(place, &language.norm)?,
            head: place.product(processor.head())?,
            rotations: language.rotations(),
            angles: Mutex::default(),
        })
    }

    /// Whether the vision tower was left out.
    pub fn is_query_only(&self) -> bool {
        self.vision.is_none()
    }

    /// Which card it is.
    pub fn device(&self) -> Device {
        match &self.device {
            CandleDevice::Cpu => Device::Cpu,
            CandleDevice::Cuda(_) => Device::Cuda,
            CandleDevice::Metal(_) => Device::Metal,
        }
    }

    /// As [`Processor::encode_slices`].
    pub fn encode_slices(&self, pictures: &[Tensor], ids: &[u32]) -> Result<Tensor, ModelError> {
        let vision = self.vision.as_ref().ok_or(ModelError::QueryOnly)?;
        let features = vision.encode(pictures, &self.device)?;
        let (batch, patches, width) = features.dims3()?;
        if patches != image_tokens(ids) {
            let tokens = image_tokens(ids);
            return Err(candle_core::Error::Msg(format!(
                "{tokens} image tokens for {patches} patches"
            ))
            .into());
        }
        let text = self.embedding.rows(&ids[patches..])?.to_device(&self.device)?;
        let text = text.unsqueeze(0)?.broadcast_as((batch, ids.len() - patches, width))?;
        let x = Tensor::cat(&[&features, &text.contiguous()?], 1)?;
        Ok(self.rows(&self.language(x, None)?)?)
    }

    /// As [`Processor::encode_texts`]: in one batch, padded to the longest; nobody sees the pads.
    pub fn encode_texts(&self, texts: &[&[u32]], causal: bool) -> CandleResult<Tensor> {
        let longest = texts.iter().map(|ids| ids.len()).max().unwrap_or(0);
        let padded: Vec<u32> = texts
            .iter()
            .flat_map(|ids| ids.iter().copied().chain(std::iter::repeat(0)).take(longest))
            .collect();
        let x = self.embedding.rows(&padded)?;
        let x = x.reshape((texts.len(), longest, ()))?.to_device(&self.device)?;
        let even = texts.iter().all(|ids| ids.len() == longest);
        let mask = match even && !causal {
            true => None,
            false => Some(self.mask(texts, longest, causal)?),
        };
        let rows = self.rows(&self.language(x, mask.as_ref())?)?;
        if even {
            return Ok(rows);
        }
        let parts = texts.iter().enumerate().map(|(i, ids)| rows.narrow(0, i * longest, ids.len()));
        Tensor::cat(&parts.collect::<CandleResult<Vec<_>>>()?, 0)
    }

    /// What is added to scores, `[texts, 1, n, n]`: 0 for a key that a position sees, else the
    /// negative infinity.
    fn mask(&self, texts: &[&[u32]], n: usize, causal: bool) -> CandleResult<Tensor> {
        let mut mask = Vec::with_capacity(texts.len() * n * n);
        for ids in texts {
            for position in 0..n {
                let seen = if causal { ids.len().min(position + 1) } else { ids.len() };
                mask.extend((0..n).map(|key| if key < seen { 0.0 } else { f32::NEG_INFINITY }));
            }
        }
        Tensor::from_vec(mask, (texts.len(), 1, n, n), &self.device)
    }

    /// All layers and the last norm, `[batch, n, hidden]` f32.
    fn language(&self, mut x: Tensor, mask: Option<&Tensor>) -> CandleResult<Tensor> {
        let angles = self.angles(x.dim(1)?)?;
        for layer in &self.layers {
            x = layer.forward(&x, &angles, mask)?;
        }
        self.norm.apply(&x)
    }

    /// cos and sin for at least `n` positions.
    fn angles(&self, n: usize) -> CandleResult<(Tensor, Tensor)> {
        let mut angles = self.angles.lock().expect("no panic holds it");
        if let Some((cos, sin)) = angles.as_ref().filter(|(cos, _)| cos.dims()[0] >= n) {
            return Ok((cos.clone(), sin.clone()));
        }
        let half = self.rotations.half();
        let table = |of: fn(f32) -> f32| {
            let rows = (0..n).flat_map(|p| (0..half).map(move |i| (p, i)));
            let values = rows.map(|(p, i)| of(self.rotations.angle(p, i))).collect();
            Tensor::from_vec(values, (n, half), &self.device)
        };
        let made = (table(f32::cos)?, table(f32::sin)?);
        *angles = Some(made.clone());
        Ok(made)
    }

    /// Head and normalisation, `[batch * n, dim]` f32, on the processor.
    fn rows(&self, x: &Tensor) -> CandleResult<Tensor> {
        let rows = self.head.apply(&x.flatten_to(1)?)?;
        let lengths = rows.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
        rows.broadcast_div(&lengths)?.to_device(&CandleDevice::Cpu)
    }
}

/// Where weights go and what they become there.
#[derive(Clone, Copy)]
struct Place<'a> {
    device: &'a CandleDevice,
    dtype: DType,
}

impl Place<'_> {
    fn numbers(self, values: &[f32]) -> CandleResult<Tensor> {
        Tensor::from_slice(values, values.len(), self.device)
    }

    fn product(self, linear: &Linear) -> CandleResult<Product> {
        let matrix = linear.weight();
        let shape = [matrix.rows(), matrix.columns()];
        let rows = 0..matrix.rows();
        let weight = match (matrix.format(), self.dtype) {
            (Format::F32, DType::F32) | (Format::Bf16, DType::BF16) => {
                let bytes = rows.flat_map(|row| matrix.row(row)).copied().collect::<Vec<u8>>();
                Tensor::from_raw_buffer(&bytes, self.dtype, &shape, self.device)?
            }
            _ => {
                let values: Vec<f32> = rows.flat_map(|row| matrix.values(row)).collect();
                Tensor::from_vec(values, &shape, &CandleDevice::Cpu)?
                    .to_dtype(self.dtype)?
                    .to_device(self.device)?
            }
        };
        let bias = match linear.bias() {
            [] => None,
            bias => Some(self.numbers(bias)?),
        };
        Ok(Product { weight, bias })
    }
}

/// `y = x W^T + b`.
#[derive(Debug)]
struct Product {
    /// `[out, in]`.
    weight: Tensor,
    /// `[out]`, f32.
    bias: Option<Tensor>,
}

impl Product {
    /// `[.., in]` of any type to `[.., out]`, f32.
    fn apply(&self, x: &Tensor) -> CandleResult<Tensor> {
        let (shape, width) = (x.dims(), x.dim(D::Minus1)?);
        let rows = x.elem_count() / width;
        let flat = x.to_dtype(self.weight.dtype())?.reshape((rows, width))?;
        let y = flat.matmul(&self.weight.t()?)?.to_dtype(DType::F32)?;
        let y = match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        let mut shape = shape.to_vec();
        *shape.last_mut().expect("matrices have axes") = self.weight.dim(0)?;
        y.reshape(shape)
    }

    /// As `heads` of width `dim`, `[batch, heads, n, dim]`, f32.
    fn heads(&self, x: &Tensor, heads: usize, dim: usize) -> CandleResult<Tensor> {
        let (batch, n, _) = x.dims3()?;
        self.apply(x)?.reshape((batch, n, heads, dim))?.transpose(1, 2)?.contiguous()
    }
}

/// Attention of `q`, `[batch, queries, n, dim]`, over `k` and `v`, `[batch, keys, n, dim]`, to
/// `[batch, n, queries * dim]`. Query heads that share keys are rows of one product, so keys are
/// not repeated.
fn attend(
    dtype: DType,
    heads: Heads,
    mask: Option<&Tensor>,
    [q, k, v]: [&Tensor; 3],
) -> CandleResult<Tensor> {
    let (batch, _, n, dim) = q.dims4()?;
    let shared = heads.queries / heads.keys;
    let part =
        |x: &Tensor, rows: usize| x.to_dtype(dtype)?.reshape((batch * heads.keys, rows, dim));
    let (q, k, v) = (part(q, shared * n)?, part(k, n)?, part(v, n)?);
    let scores = (q.matmul(&k.t()?)?.to_dtype(DType::F32)? * f64::from(heads.scale))?;
    let scores = match mask {
        Some(mask) => scores.reshape((batch, heads.queries, n, n))?.broadcast_add(mask)?,
        None => scores,
    };
    let weights = softmax_last_dim(&scores)?.to_dtype(dtype)?;
    let seen = weights.reshape((batch * heads.keys, shared * n, n))?.matmul(&v)?;
    let seen = seen.reshape((batch, heads.queries, n, dim))?.transpose(1, 2)?.contiguous()?;
    seen.reshape((batch, n, heads.queries * dim))
}

#[derive(Debug)]
struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl LayerNorm {
    fn place(place: Place<'_>, norm: &vision::Norm) -> CandleResult<Self> {
        let (weight, bias) = (place.numbers(&norm.weight)?, place.numbers(&norm.bias)?);
        Ok(Self { weight, bias, eps: norm.eps })
    }

    fn apply(&self, x: &Tensor) -> CandleResult<Tensor> {
        layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}

#[derive(Debug)]
struct RootNorm {
    weight: Tensor,
    eps: f32,
}

impl RootNorm {
    fn place(place: Place<'_>, norm: &language::Norm) -> CandleResult<Self> {
        Ok(Self { weight: place.numbers(&norm.weight)?, eps: norm.eps })
    }

    fn apply(&self, x: &Tensor) -> CandleResult<Tensor> {
        rms_norm(x, &self.weight, self.eps)
    }
}

/// The vision tower and its projector.
#[derive(Debug)]
struct Vision {
    patch: usize,
    patch_embedding: Product,
    /// `[n_patches, hidden]`.
    positions: Tensor,
    layers: Vec<VisionLayer>,
    post_norm: LayerNorm,
    projector: Product,
}

impl Vision {
    fn place(place: Place<'_>, tower: &vision::Vision, projector: &Linear) -> CandleResult<Self> {
        let positions = place.numbers(&tower.positions.to_rows())?;
        let layers = tower.layers.iter().map(|layer| VisionLayer::place(place, layer));
        Ok(Self {
            patch: tower.patch,
            patch_embedding: place.product(&tower.patch_embedding)?,
            positions: positions.reshape(((), tower.positions.width()))?,
            layers: layers.collect::<CandleResult<_>>()?,
            post_norm: LayerNorm::place(place, &tower.post_norm)?,
            projector: place.product(projector)?,
        })
    }

    /// `[3, edge, edge]` each to `[batch, n_patches, the language model's width]`.
    fn encode(&self, pictures: &[Tensor], device: &CandleDevice) -> CandleResult<Tensor> {
        let pixels = pictures.iter().map(|pixels| patches(pixels, self.patch));
        let pixels = Tensor::stack(&pixels.collect::<CandleResult<Vec<_>>>()?, 0)?;
        let x = self.patch_embedding.apply(&pixels.to_device(device)?)?;
        let mut x = x.broadcast_add(&self.positions)?;
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        self.projector.apply(&self.post_norm.apply(&x)?)
    }
}

#[derive(Debug)]
struct VisionLayer {
    norm1: LayerNorm,
    query: Product,
    key: Product,
    value: Product,
    out: Product,
    norm2: LayerNorm,
    fc1: Product,
    fc2: Product,
    heads: Heads,
}

impl VisionLayer {
    fn place(place: Place<'_>, layer: &vision::Layer) -> CandleResult<Self> {
        Ok(Self {
            norm1: LayerNorm::place(place, &layer.norm1)?,
            query: place.product(&layer.query)?,
            key: place.product(&layer.key)?,
            value: place.product(&layer.value)?,
            out: place.product(&layer.out)?,
            norm2: LayerNorm::place(place, &layer.norm2)?,
            fc1: place.product(&layer.fc1)?,
            fc2: place.product(&layer.fc2)?,
            heads: layer.heads,
        })
    }

    fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        let Heads { queries, keys, dim, .. } = self.heads;
        let dtype = self.out.weight.dtype();
        let y = self.norm1.apply(x)?.to_dtype(dtype)?;
        let q = self.query.heads(&y, queries, dim)?;
        let (k, v) = (self.key.heads(&y, keys, dim)?, self.value.heads(&y, keys, dim)?);
        let x = (x + self.out.apply(&attend(dtype, self.heads, None, [&q, &k, &v])?)?)?;
        let y = self.fc1.apply(&self.norm2.apply(&x)?)?.gelu()?;
        x + self.fc2.apply(&y)?
    }
}

#[derive(Debug)]
struct LanguageLayer {
    input_norm: RootNorm,
    query: Product,
    key: Product,
    value: Product,
    out: Product,
    mlp_norm: RootNorm,
    gate: Product,
    up: Product,
    down: Product,
    heads: Heads,
}

impl LanguageLayer {
    fn place(place: Place<'_>, layer: &language::Layer) -> CandleResult<Self> {
        Ok(Self {
            input_norm: RootNorm::place(place, &layer.input_norm)?,
            query: place.product(&layer.query)?,
            key: place.product(&layer.key)?,
            value: place.product(&layer.value)?,
            out: place.product(&layer.out)?,
            mlp_norm: RootNorm::place(place, &layer.mlp_norm)?,
            gate: place.product(&layer.gate)?,
            up: place.product(&layer.up)?,
            down: place.product(&layer.down)?,
            heads: layer.heads,
        })
    }

    fn forward(
        &self,
        x: &Tensor,
        (cos, sin): &(Tensor, Tensor),
        mask: Option<&Tensor>,
    ) -> CandleResult<Tensor> {
        let Heads { queries, keys, dim, .. } = self.heads;
        let dtype = self.out.weight.dtype();
        let y = self.input_norm.apply(x)?.to_dtype(dtype)?;
        let q = rope(&self.query.heads(&y, queries, dim)?, cos, sin)?;
        let k = rope(&self.key.heads(&y, keys, dim)?, cos, sin)?;
        let v = self.value.heads(&y, keys, dim)?;
        let x = (x + self.out.apply(&attend(dtype, self.heads, mask, [&q, &k, &v])?)?)?;
        let y = self.mlp_norm.apply(&x)?.to_dtype(dtype)?;
        let y = (self.gate.apply(&y)?.gelu()? * self.up.apply(&y)?)?;
        x + self.down.apply(&y)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ColPali, LoadOptions, Recipe};

    fn fixture() -> std::path::PathBuf {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/parity").into()
    }

    fn load(precision: Precision) -> ColPali {
        let options = LoadOptions {
            precision: Some(precision),
            recipe: Some(Recipe::default()),
            device: Device::Cpu,
            ..LoadOptions::default()
        };
        ColPali::load(&fixture().join("hf"), &options).unwrap()
    }

    fn rows(x: &Tensor) -> Vec<Vec<f32>> {
        x.to_vec2().unwrap()
    }

    fn largest_difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
        assert_eq!(a.len(), b.len());
        let pairs = a.iter().flatten().zip(b.iter().flatten());
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    fn least_cosine(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
        let dot = |a: &Vec<f32>, b: &Vec<f32>| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let cosine = |(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
        a.iter().zip(b).map(cosine).fold(f32::INFINITY, f32::min)
    }

    /// On candle's processor, so that it runs everywhere: the same operations as on a card.
    #[test]
    fn candles_operations_give_the_vectors_of_our_kernels_and_of_the_reference() {
        let path = fixture().join("expected.safetensors");
        let expected = candle_core::safetensors::load(path, &CandleDevice::Cpu).unwrap();
        let pixels = &expected["pixel_values"];
        let pixels: Vec<Tensor> =
            (0..2).map(|i| pixels.get(i).unwrap().contiguous().unwrap()).collect();
        let exact = load(Precision::F32);
        let questions = ["net sales by region", "page 3", "\u{10348}"];
        let ids: Vec<Vec<u32>> = questions.iter().map(|q| exact.query_ids(q).unwrap()).collect();
        let texts: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        for precision in [Precision::F32, Precision::F16, Precision::Bf16, Precision::Q8] {
            let model = load(precision);
            let processor = model.processor().unwrap();
            let card = Card::place(&CandleDevice::Cpu, precision, processor).unwrap();
            let pages = rows(&card.encode_slices(&pixels, exact.page_ids()).unwrap());
            let ours = rows(&processor.encode_slices(&pixels, exact.page_ids()).unwrap());
            let mut pairs = vec![(pages.clone(), ours)];
            for causal in [false, true] {
                let queries = rows(&card.encode_texts(&texts, causal).unwrap());
                let ours = rows(&processor.encode_texts(&texts, causal).unwrap());
                // A text gives the same beside longer ones.
                let alone: Vec<Vec<f32>> = texts
                    .iter()
                    .flat_map(|ids| rows(&card.encode_texts(&[ids], causal).unwrap()))
                    .collect();
                assert!(least_cosine(&alone, &queries) > 0.9999, "{precision} {causal}");
                pairs.push((queries, ours));
            }
            for (card, ours) in &pairs {
                match precision.arithmetic() {
                    Arithmetic::F32 => assert!(largest_difference(card, ours) < 2e-6),
                    Arithmetic::Bf16 => assert!(least_cosine(card, ours) > 0.999, "{precision}"),
                }
            }
            if precision == Precision::F32 {
                let expected = &expected["hf.page.embeddings"].flatten_to(1).unwrap();
                assert!(largest_difference(&pages, &rows(expected)) < 1e-5);
            }
        }
    }

    #[test]
    fn a_card_for_queries_alone_refuses_pictures() {
        let options = LoadOptions { query_only: true, ..LoadOptions::default() };
        let model = ColPali::load(&fixture().join("hf"), &options).unwrap();
        let card = Card::place(&CandleDevice::Cpu, Precision::F32, model.processor().unwrap());
        let card = card.unwrap();
        let error = card.encode_slices(&[], model.page_ids());
        assert!(card.is_query_only() && matches!(error, Err(ModelError::QueryOnly)));
    }
}
