//! The model on a graphics card, in candle's operations.
//!
//! What the processor's kernels do is done here to batches, `[batch, n, width]`: products in the
//! type of the precision (cuBLAS sums them in f32), all else in f32: norms, rotations, softmax,
//! activations and what the layers add to. What lies between two products is one pass over memory
//! ([`fused`]). Inputs go up and vectors come down; between them nothing leaves the card.
//! Quantized weights are widened to bf16 on the way up: a card is asked for speed, and integer
//! products of its own are not written.

mod fused;
#[cfg(feature = "cuda")]
mod kernels;

use std::sync::Mutex;

use candle_core::{D, DType, Device as CandleDevice, Result as CandleResult, Tensor};
use pagesight_core::PageImage;

use self::fused::Shape;
use crate::attention::Heads;
use crate::config::PreprocessorConfig;
use crate::language::{self, Embedding, Rotations};
use crate::linear::Linear;
use crate::matmul::{Arithmetic, Format};
use crate::precision::Precision;
use crate::preprocess::{patches, pixel_values};
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
    /// What products are made in.
    dtype: DType,
    /// `[2, n, head_dim / 2]`, cos and sin, for the longest sequence so far.
    angles: Mutex<Option<Tensor>>,
}

impl Card {
    /// Brings the weights of `processor` to `device`.
    pub fn place(
        device: &CandleDevice,
        precision: Precision,
        processor: &Processor,
    ) -> Result<Self, ModelError> {
        #[cfg(feature = "cuda")]
        kernels::keep_memory(device)?;
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
            dtype: place.dtype,
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
        let pixels = pictures.iter().map(|pixels| patches(pixels, vision.patch));
        let pixels = Tensor::stack(&pixels.collect::<CandleResult<Vec<_>>>()?, 0)?;
        let all: Vec<usize> = (0..ids.len()).collect();
        let kept = vec![all.as_slice(); pictures.len()];
        self.encode_patches(&pixels.to_device(&self.device)?, ids, &kept)
    }

    /// The rows in `kept` of each picture, one after the other, `[sum of n_kept, dim]` f32.
    pub fn encode_pictures(
        &self,
        pictures: &[&PageImage],
        config: &PreprocessorConfig,
        ids: &[u32],
        kept: &[&[usize]],
    ) -> Result<Tensor, ModelError> {
        let vision = self.vision.as_ref().ok_or(ModelError::QueryOnly)?;
        #[cfg(feature = "cuda")]
        if self.device.is_cuda() {
            // Bytes go up, a quarter of what their numbers would be.
            let edge = pictures.first().map_or(0, |picture| picture.width_px() as usize);
            let bytes: Vec<&[u8]> = pictures.iter().map(|picture| picture.rgb()).collect();
            let bytes = bytes.concat();
            let bytes = Tensor::from_vec(bytes, (pictures.len(), edge, edge, 3), &self.device)?;
            let worth = crate::preprocess::worth(config).concat();
            let worth = Tensor::from_vec(worth, (3, 256), &self.device)?;
            let pixels = kernels::patches(&bytes, &worth, vision.patch, self.dtype)?;
            return self.encode_patches(&pixels, ids, kept);
        }
        let pixels =
            pictures.iter().map(|picture| patches(&pixel_values(picture, config)?, vision.patch));
        let pixels = Tensor::stack(&pixels.collect::<CandleResult<Vec<_>>>()?, 0)?;
        self.encode_patches(&pixels.to_device(&self.device)?, ids, kept)
    }

    /// Patches, `[batch, n_patches, 3 * patch * patch]`, to the rows in `kept` of each sequence.
    fn encode_patches(
        &self,
        pixels: &Tensor,
        ids: &[u32],
        kept: &[&[usize]],
    ) -> Result<Tensor, ModelError> {
        let vision = self.vision.as_ref().ok_or(ModelError::QueryOnly)?;
        let features = vision.encode(pixels)?;
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
        // Rows of scores that begin at whole 16 bytes multiply much faster: up to 7 positions more,
        // which nobody sees.
        let padded = match self.dtype {
            DType::BF16 => ids.len().next_multiple_of(8),
            _ => ids.len(),
        };
        let x = Tensor::cat(&[&features, &text.contiguous()?], 1)?;
        let x = x.pad_with_zeros(1, 0, padded - ids.len())?;
        let x = self.language(x, ids.len(), None)?.flatten_to(1)?;
        let kept = kept.iter().enumerate();
        let kept: Vec<u32> =
            kept.flat_map(|(n, at)| at.iter().map(move |at| (n * padded + at) as u32)).collect();
        let kept = Tensor::from_slice(&kept, kept.len(), &self.device)?;
        Ok(self.rows(&x.index_select(&kept, 0)?)?)
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
        let rows = self.rows(&self.language(x, longest, mask.as_ref())?.flatten_to(1)?)?;
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

    /// All layers and the last norm, `[batch, n, hidden]`. Positions from `seen` on are seen by
    /// none.
    fn language(&self, mut x: Tensor, seen: usize, mask: Option<&Tensor>) -> CandleResult<Tensor> {
        let angles = self.angles(x.dim(1)?)?;
        for layer in &self.layers {
            x = layer.forward(&x, &angles, seen, mask)?;
        }
        self.norm.apply(&x, self.dtype)
    }

    /// cos and sin for at least `n` positions.
    fn angles(&self, n: usize) -> CandleResult<Tensor> {
        let mut angles = self.angles.lock().expect("no panic holds it");
        if let Some(angles) = angles.as_ref().filter(|angles| angles.dims()[1] >= n) {
            return Ok(angles.clone());
        }
        let half = self.rotations.half();
        let table = |of: fn(f32) -> f32| {
            (0..n * half).map(move |at| of(self.rotations.angle(at / half, at % half)))
        };
        let values = table(f32::cos).chain(table(f32::sin)).collect();
        let made = Tensor::from_vec(values, (2, n, half), &self.device)?;
        *angles = Some(made.clone());
        Ok(made)
    }

    /// Head and normalisation of `[n, hidden]`, `[n, dim]` f32, on the processor.
    fn rows(&self, x: &Tensor) -> CandleResult<Tensor> {
        let rows = self.head.apply(x)?;
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
    /// `[.., in]` in the type of products to `[rows, out]` in it, without the bias.
    fn multiply(&self, x: &Tensor) -> CandleResult<Tensor> {
        let width = x.dim(D::Minus1)?;
        x.reshape((x.elem_count() / width, width))?.matmul(&self.weight.t()?)
    }

    /// `[.., in]` of any type to `[.., out]`, f32.
    fn apply(&self, x: &Tensor) -> CandleResult<Tensor> {
        let y = self.multiply(&x.to_dtype(self.weight.dtype())?)?.to_dtype(DType::F32)?;
        let y = match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        let mut shape = x.dims().to_vec();
        *shape.last_mut().expect("matrices have axes") = self.weight.dim(0)?;
        y.reshape(shape)
    }

    /// As `[batch, heads, n, dim]`.
    fn heads(&self, x: &Tensor, shape: Shape) -> CandleResult<Tensor> {
        fused::heads(&self.multiply(x)?, self.bias.as_ref(), shape)
    }

    /// As `[batch, heads, n, dim]`, turned; a bias is of no model that turns.
    fn turned_heads(&self, x: &Tensor, angles: &Tensor, shape: Shape) -> CandleResult<Tensor> {
        debug_assert!(self.bias.is_none(), "turned heads have no bias");
        fused::turned_heads(&self.multiply(x)?, angles, shape)
    }

    /// `x`, f32, and what `y` becomes.
    fn add_to(&self, x: &Tensor, y: &Tensor) -> CandleResult<Tensor> {
        fused::add(x, &self.multiply(y)?, self.bias.as_ref())
    }
}

/// Attention of `q`, `[batch, queries, n, dim]`, over `k` and `v`, `[batch, keys, n, dim]`, to
/// `[batch * n, queries * dim]`. Keys from `seen` on are not looked at. Query heads that share keys
/// are rows of one product, so keys are not repeated.
fn attend(
    heads: Heads,
    seen: usize,
    mask: Option<&Tensor>,
    [q, k, v]: [&Tensor; 3],
) -> CandleResult<Tensor> {
    let (batch, _, n, dim) = q.dims4()?;
    let shared = heads.queries / heads.keys;
    let part = |x: &Tensor, rows: usize| x.reshape((batch * heads.keys, rows, dim));
    let (q, k, v) = (part(q, shared * n)?, part(k, n)?, part(v, n)?);
    let scores = q.matmul(&k.t()?)?.reshape((batch, heads.queries, n, n))?;
    let weights = fused::softmax(&scores, seen, heads.scale, mask)?;
    let mixed = weights.reshape((batch * heads.keys, shared * n, n))?.matmul(&v)?;
    fused::joined(&mixed, Shape { batch, n, heads: heads.queries, dim })
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

    fn apply(&self, x: &Tensor, dtype: DType) -> CandleResult<Tensor> {
        fused::layer_norm(x, [&self.weight, &self.bias], self.eps, dtype)
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

    fn apply(&self, x: &Tensor, dtype: DType) -> CandleResult<Tensor> {
        fused::root_norm(x, &self.weight, self.eps, dtype)
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

    /// `[batch, n_patches, 3 * patch * patch]` to `[batch, n_patches, the language model's width]`,
    /// f32.
    fn encode(&self, pixels: &Tensor) -> CandleResult<Tensor> {
        let x = self.patch_embedding.apply(pixels)?;
        let mut x = x.broadcast_add(&self.positions)?;
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        self.projector.apply(&self.post_norm.apply(&x, self.projector.weight.dtype())?)
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
        let (batch, n, _) = x.dims3()?;
        let Heads { queries, keys, dim, .. } = self.heads;
        let shape = |heads| Shape { batch, n, heads, dim };
        let dtype = self.out.weight.dtype();
        let y = self.norm1.apply(x, dtype)?;
        let q = self.query.heads(&y, shape(queries))?;
        let (k, v) = (self.key.heads(&y, shape(keys))?, self.value.heads(&y, shape(keys))?);
        let x = self.out.add_to(x, &attend(self.heads, n, None, [&q, &k, &v])?)?;
        let y = self.fc1.multiply(&self.norm2.apply(&x, dtype)?)?;
        self.fc2.add_to(&x, &fused::gelu(&y, self.fc1.bias.as_ref())?)
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
        angles: &Tensor,
        seen: usize,
        mask: Option<&Tensor>,
    ) -> CandleResult<Tensor> {
        let (batch, n, _) = x.dims3()?;
        let Heads { queries, keys, dim, .. } = self.heads;
        let shape = |heads| Shape { batch, n, heads, dim };
        let dtype = self.out.weight.dtype();
        let y = self.input_norm.apply(x, dtype)?;
        let q = self.query.turned_heads(&y, angles, shape(queries))?;
        let k = self.key.turned_heads(&y, angles, shape(keys))?;
        let v = self.value.heads(&y, shape(keys))?;
        let x = self.out.add_to(x, &attend(self.heads, seen, mask, [&q, &k, &v])?)?;
        let y = self.mlp_norm.apply(&x, dtype)?;
        let y = fused::gated(&self.gate.multiply(&y)?, &self.up.multiply(&y)?)?;
        self.down.add_to(&x, &y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "cuda")]
    use pagesight_core::seam::PageEncoder;

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
        check(&CandleDevice::Cpu, 2e-6);
    }

    #[cfg(feature = "cuda")]
    #[test]
    #[ignore = "needs a card of NVIDIA: make cuda-test"]
    fn a_card_of_nvidia_gives_the_vectors_of_our_kernels_and_of_the_reference() {
        check(&CandleDevice::new_cuda(0).unwrap(), 1e-5);
    }

    /// nano's widths are whole eights, so it goes through the fused kernels; it has an odd number
    /// of positions.
    #[cfg(feature = "cuda")]
    #[test]
    #[ignore = "needs a card of NVIDIA: make cuda-test"]
    fn a_card_of_nvidia_gives_nanos_vectors_alone_and_beside_others() {
        let load = |device, precision| {
            let options =
                LoadOptions { device, precision: Some(precision), ..LoadOptions::default() };
            ColPali::load(std::path::Path::new(ColPali::NANO), &options).unwrap()
        };
        let exact = load(Device::Cpu, Precision::F32);
        let input = exact.input();
        let pages: Vec<PageImage> = (0..3u32)
            .map(|seed| {
                // Bars and dots: print without letters.
                let ink = |x: u32, y: u32| (x / 7 * (y / 12 + seed)) % 5 < 2 && y % 12 < 7;
                let rgb = (0..input.height_px()).flat_map(|y| {
                    (0..input.width_px()).flat_map(move |x| [if ink(x, y) { 20u8 } else { 250 }; 3])
                });
                PageImage::new(input.width_px(), input.height_px(), rgb.collect()).unwrap()
            })
            .collect();
        let numbers = |model: &ColPali, pages: &[PageImage]| -> Vec<Vec<f32>> {
            let vectors = model.encode_pages(pages).unwrap();
            let rows = vectors.iter().flat_map(|page| page.values().chunks(page.dim()));
            rows.map(|row| row.iter().map(|v| v.to_f32()).collect()).collect()
        };
        let expected = numbers(&exact, &pages);
        for (precision, least) in [(Precision::F32, 0.999_99), (Precision::Bf16, 0.999)] {
            let card = load(Device::Cuda, precision);
            let together = numbers(&card, &pages);
            let alone: Vec<Vec<f32>> =
                pages.chunks(1).flat_map(|page| numbers(&card, page)).collect();
            let (near, same) =
                (least_cosine(&together, &expected), least_cosine(&together, &alone));
            println!("{precision}: {near} to the processor's f32, {same} to each page alone");
            assert!(near > least && same > 0.9999, "{precision}: {near}, {same}");
        }
    }

    /// `apart`: how far f32 numbers may lie from the processor's.
    fn check(device: &CandleDevice, apart: f32) {
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
            let card = Card::place(device, precision, processor).unwrap();
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
                    Arithmetic::F32 => assert!(largest_difference(card, ours) < apart),
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
