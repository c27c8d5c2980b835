//! ColPali on a GPU.

mod language;
mod vision;

use std::sync::Mutex;

use candle_core::{D, DType, Device as CandleDevice, Result as CandleResult, Tensor};
use pagesight_core::PageImage;

use crate::device::Device;
use crate::error::ModelError;
use crate::families::colpali::cpu::language::{Embedding, Rotations};
use crate::families::colpali::cpu::{CpuModel, image_tokens};
use crate::families::colpali::gpu::vision::Vision;
use crate::families::colpali::preprocess::patches;
use crate::families::normalisation::Normalisation;
#[cfg(feature = "cuda")]
use crate::gpu::kernels;
use crate::gpu::{Place, Product, RootNorm, device_of};
use crate::precision::Precision;

/// The vision tower, the projector behind it, the language model and the head.
#[derive(Debug)]
pub struct GpuModel {
    device: CandleDevice,
    /// `None` when loaded for queries alone.
    vision: Option<Vision>,
    embedding: Embedding,
    layers: Vec<language::Layer>,
    norm: RootNorm,
    head: Product,
    rotations: Rotations,
    /// The type of products.
    dtype: DType,
    /// `[2, n, head_dim / 2]`, cos and sin, for the longest sequence so far.
    angles: Mutex<Option<Tensor>>,
}

impl GpuModel {
    /// Brings the weights of `model` to `device`.
    ///
    /// # Errors
    /// [`ModelError::Compute`], e.g. when its memory is too small.
    pub fn place(
        device: &CandleDevice,
        precision: Precision,
        model: &CpuModel,
    ) -> Result<Self, ModelError> {
        let place = Place::new(device, precision)?;
        let vision = if model.is_query_only() {
            None
        } else {
            let (tower, projector) = model.vision()?;
            Some(Vision::place(place, tower, projector)?)
        };
        let language = model.language();
        let layers = language.layers.iter().map(|layer| language::Layer::place(place, layer));
        Ok(Self {
            device: device.clone(),
            vision,
            embedding: language.embedding().clone(),
            layers: layers.collect::<CandleResult<_>>()?,
            norm: language::place_norm(place, &language.norm)?,
            head: place.product(model.head())?,
            rotations: language.rotations(),
            dtype: place.dtype,
            angles: Mutex::default(),
        })
    }

    /// Whether it was loaded for queries alone, without its vision tower.
    pub fn is_query_only(&self) -> bool {
        self.vision.is_none()
    }

    /// Which GPU it is.
    pub fn device(&self) -> Device {
        device_of(&self.device)
    }

    /// As [`CpuModel::encode_slices`].
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
        normalisation: Normalisation,
        ids: &[u32],
        kept: &[&[usize]],
    ) -> Result<Tensor, ModelError> {
        let vision = self.vision.as_ref().ok_or(ModelError::QueryOnly)?;
        #[cfg(feature = "cuda")]
        if self.device.is_cuda() {
            // Bytes are sent, which is a quarter of the numbers that they become.
            let edge = pictures.first().map_or(0, |picture| picture.width_px() as usize);
            let bytes: Vec<&[u8]> = pictures.iter().map(|picture| picture.rgb()).collect();
            let bytes = bytes.concat();
            let bytes = Tensor::from_vec(bytes, (pictures.len(), edge, edge, 3), &self.device)?;
            let worth = normalisation.worth().concat();
            let worth = Tensor::from_vec(worth, (3, 256), &self.device)?;
            let pixels = kernels::patches(&bytes, &worth, vision.patch, self.dtype)?;
            return self.encode_patches(&pixels, ids, kept);
        }
        let pixels = pictures
            .iter()
            .map(|picture| patches(&normalisation.pixel_values(picture)?, vision.patch));
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
        // Rows of scores that begin at whole 16 bytes multiply much faster, so up to 7 positions
        // are added, which are masked.
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

    /// As [`CpuModel::encode_texts`]: in one batch, padded to the longest text. Padding is masked.
    pub fn encode_texts(&self, texts: &[&[u32]], causal: bool) -> CandleResult<Tensor> {
        let longest = texts.iter().map(|ids| ids.len()).max().unwrap_or(0);
        let padded: Vec<u32> = texts
            .iter()
            .flat_map(|ids| ids.iter().copied().chain(std::iter::repeat(0)).take(longest))
            .collect();
        let x = self.embedding.rows(&padded)?;
        let x = x.reshape((texts.len(), longest, ()))?.to_device(&self.device)?;
        let even = texts.iter().all(|ids| ids.len() == longest);
        let mask = if even && !causal { None } else { Some(self.mask(texts, longest, causal)?) };
        let rows = self.rows(&self.language(x, longest, mask.as_ref())?.flatten_to(1)?)?;
        if even {
            return Ok(rows);
        }
        let parts = texts.iter().enumerate().map(|(i, ids)| rows.narrow(0, i * longest, ids.len()));
        Tensor::cat(&parts.collect::<CandleResult<Vec<_>>>()?, 0)
    }

    /// The mask that is added to scores, `[texts, 1, n, n]`: 0 for a key that a position attends
    /// to, else negative infinity.
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

    /// Runs all layers and the last norm, `[batch, n, hidden]`. Positions from `seen` on are
    /// masked.
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

    /// Applies the head to `[n, hidden]`, scales rows to length 1, and brings them to the CPU,
    /// `[n, dim]` f32.
    fn rows(&self, x: &Tensor) -> CandleResult<Tensor> {
        let rows = self.head.apply(x)?;
        let lengths = rows.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
        rows.broadcast_div(&lengths)?.to_device(&CandleDevice::Cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pagesight_core::ModelSource;
    #[cfg(feature = "cuda")]
    use pagesight_core::{PageSize, PictureSize, seam::PageEncoder};

    use crate::families::colpali::model::ColPali;
    use crate::families::colpali::recipe::Recipe;
    use crate::options::LoadOptions;

    fn fixture() -> std::path::PathBuf {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/parity").into()
    }

    fn load(precision: Precision) -> ColPali {
        let options = LoadOptions {
            precision: Some(precision),
            recipe: Some(Recipe::default().into()),
            device: Device::Cpu,
            ..LoadOptions::default()
        };
        ColPali::load(&ModelSource::Folder(fixture().join("hf")), &options).unwrap()
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

    /// On candle's CPU device, so that it runs everywhere: the same operations as on a GPU.
    #[test]
    fn candles_operations_give_the_vectors_of_our_kernels_and_of_the_reference() {
        check(&CandleDevice::Cpu, 2e-6);
    }

    #[cfg(feature = "cuda")]
    #[test]
    #[ignore = "needs a GPU of NVIDIA: make cuda-test"]
    fn a_gpu_of_nvidia_gives_the_vectors_of_our_kernels_and_of_the_reference() {
        check(&CandleDevice::new_cuda(0).unwrap(), 1e-5);
    }

    /// nano's widths are whole eights, so it goes through the fused kernels; it has an odd number
    /// of positions.
    #[cfg(feature = "cuda")]
    #[test]
    #[ignore = "needs a GPU of NVIDIA: make cuda-test"]
    fn a_gpu_of_nvidia_gives_nanos_vectors_alone_and_beside_others() {
        let load = |device, precision| {
            let options =
                LoadOptions { device, precision: Some(precision), ..LoadOptions::default() };
            ColPali::load(&ModelSource::Nano, &options).unwrap()
        };
        let exact = load(Device::Cpu, Precision::F32);
        let PictureSize { width_px, height_px } =
            exact.picture(PageSize { width_pt: 595.0, height_pt: 842.0 });
        let pages: Vec<PageImage> = (0..3u32)
            .map(|seed| {
                // Bars and dots: print without letters.
                let ink = |x: u32, y: u32| (x / 7 * (y / 12 + seed)) % 5 < 2 && y % 12 < 7;
                let rgb = (0..height_px).flat_map(|y| {
                    (0..width_px).flat_map(move |x| [if ink(x, y) { 20u8 } else { 250 }; 3])
                });
                PageImage::new(width_px, height_px, rgb.collect()).unwrap()
            })
            .collect();
        let numbers = |model: &ColPali, pages: &[PageImage]| -> Vec<Vec<f32>> {
            let vectors = model.encode_pages(pages).unwrap();
            let vectors = vectors.iter().map(|page| page.vectors());
            let rows = vectors.flat_map(|page| page.values().chunks(page.dim()));
            rows.map(|row| row.iter().map(|v| v.to_f32()).collect()).collect()
        };
        let expected = numbers(&exact, &pages);
        for (precision, least) in [(Precision::F32, 0.999_99), (Precision::Bf16, 0.999)] {
            let gpu = load(Device::Cuda, precision);
            let together = numbers(&gpu, &pages);
            let alone: Vec<Vec<f32>> =
                pages.chunks(1).flat_map(|page| numbers(&gpu, page)).collect();
            let (near, same) =
                (least_cosine(&together, &expected), least_cosine(&together, &alone));
            println!("{precision}: {near} to the CPU's f32, {same} to each page alone");
            assert!(near > least && same > 0.9999, "{precision}: {near}, {same}");
        }
    }

    /// `apart`: how far f32 numbers may lie from the CPU's.
    fn check(device: &CandleDevice, apart: f32) {
        let path = fixture().join("expected.safetensors");
        let expected = candle_core::safetensors::load(path, &CandleDevice::Cpu).unwrap();
        let pixels = &expected["pixel_values"];
        let pixels: Vec<Tensor> =
            (0..2).map(|i| pixels.get(i).unwrap().contiguous().unwrap()).collect();
        let exact = load(Precision::F32);
        let questions = ["net sales by region", "page 3", "\u{10348}"];
        let ids: Vec<Vec<u32>> = questions.iter().map(|q| exact.query(q).unwrap().ids).collect();
        let texts: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        for precision in [Precision::F32, Precision::F16, Precision::Bf16, Precision::Q8] {
            let model = load(precision);
            let cpu = model.cpu().unwrap();
            let gpu = GpuModel::place(device, precision, cpu).unwrap();
            let pages = rows(&gpu.encode_slices(&pixels, exact.page_ids()).unwrap());
            let ours = rows(&cpu.encode_slices(&pixels, exact.page_ids()).unwrap());
            let mut pairs = vec![(pages.clone(), ours)];
            for causal in [false, true] {
                let queries = rows(&gpu.encode_texts(&texts, causal).unwrap());
                let ours = rows(&cpu.encode_texts(&texts, causal).unwrap());
                // A text gives the same beside longer ones.
                let alone: Vec<Vec<f32>> = texts
                    .iter()
                    .flat_map(|ids| rows(&gpu.encode_texts(&[ids], causal).unwrap()))
                    .collect();
                assert!(least_cosine(&alone, &queries) > 0.9999, "{precision} {causal}");
                pairs.push((queries, ours));
            }
            for (gpu, ours) in &pairs {
                if precision.is_of_sixteen_bits() {
                    assert!(least_cosine(gpu, ours) > 0.999, "{precision}");
                } else {
                    assert!(largest_difference(gpu, ours) < apart);
                }
            }
            if precision == Precision::F32 {
                let expected = &expected["hf.page.embeddings"].flatten_to(1).unwrap();
                assert!(largest_difference(&pages, &rows(expected)) < 1e-5);
            }
        }
    }

    #[test]
    fn a_gpu_for_queries_alone_refuses_pictures() {
        let options = LoadOptions { query_only: true, ..LoadOptions::default() };
        let model = ColPali::load(&ModelSource::Folder(fixture().join("hf")), &options).unwrap();
        let gpu = GpuModel::place(&CandleDevice::Cpu, Precision::F32, model.cpu().unwrap());
        let gpu = gpu.unwrap();
        let error = gpu.encode_slices(&[], model.page_ids());
        assert!(gpu.is_query_only() && matches!(error, Err(ModelError::QueryOnly)));
    }
}
