//! ColPali on a GPU.

pub mod language;

use std::borrow::Cow;

use candle_core::{DType, Device as CandleDevice, Result as CandleResult, Tensor};
use pagesight_core::PageImage;

use crate::error::ModelError;
use crate::families::colpali::cpu::language::{Embedding, Rotations};
use crate::families::colpali::cpu::{CpuModel, image_tokens};
use crate::families::colpali::preprocess::patches;
use crate::families::engine::OnGpu;
use crate::families::normalisation::Normalisation;
use crate::gpu::attention::{Attended, angles, unit_rows};
use crate::gpu::norm::RootNorm;
use crate::gpu::pixels::{Cuts, Order};
use crate::gpu::product::{Place, Product};
use crate::gpu::reach::Reach;
use crate::gpu::siglip::Tower;
use crate::precision::Precision;

/// The vision tower, the projector behind it, the language model and the head.
#[derive(Debug)]
pub struct GpuModel {
    device: CandleDevice,
    /// The tower and the projector; `None` when loaded for queries alone.
    vision: Option<(Tower, Product)>,
    embedding: Embedding,
    layers: Vec<language::Layer>,
    norm: RootNorm,
    head: Product,
    rotations: Rotations,
    /// The type of products.
    dtype: DType,
}

impl OnGpu<CpuModel> for GpuModel {
    fn place(
        device: &CandleDevice,
        precision: Precision,
        model: &CpuModel,
    ) -> Result<Self, ModelError> {
        let place = Place::new(device, precision)?;
        let vision = if model.is_query_only() {
            None
        } else {
            let (tower, projector) = model.vision()?;
            Some((Tower::place(place, tower)?, place.product(projector)?))
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
        })
    }

    fn device(&self) -> &CandleDevice {
        &self.device
    }
}

impl GpuModel {
    /// Whether it was loaded for queries alone, without its vision tower.
    pub fn is_query_only(&self) -> bool {
        self.vision.is_none()
    }

    /// As [`CpuModel::encode_slices`].
    pub fn encode_slices(&self, pictures: &[Tensor], ids: &[u32]) -> Result<Tensor, ModelError> {
        let pixels = self.pixels(pictures.iter().map(|pixels| Ok(pixels.clone())))?;
        let all: Vec<usize> = (0..ids.len()).collect();
        let kept = vec![all.as_slice(); pictures.len()];
        self.encode_patches(&pixels, ids, &kept)
    }

    /// The rows in `kept` of each picture, one after the other, `[sum of n_kept, dim]` f32.
    pub fn encode_pictures(
        &self,
        pictures: &[&PageImage],
        normalisation: Normalisation,
        ids: &[u32],
        kept: &[&[usize]],
    ) -> Result<Tensor, ModelError> {
        let (tower, _) = self.vision.as_ref().ok_or(ModelError::QueryOnly)?;
        let mut cuts = Cuts::new(tower.patch, Order::ChannelByChannel);
        for picture in pictures {
            let edge = |px: u32| (0..px as usize).step_by(tower.patch);
            let (rows, columns) = (edge(picture.height_px()), edge(picture.width_px()));
            let picture = Cow::Borrowed(*picture);
            cuts.add(
                picture,
                rows.flat_map(|row| columns.clone().map(move |column| [row, column])),
            );
        }
        let pixels = cuts.patches(&self.device, &normalisation.worth(), self.dtype)?;
        self.encode_patches(&pixels, ids, kept)
    }

    /// Patches of pictures, `[3, edge, edge]` each, on the GPU: `[pictures * n_patches, 3 * patch *
    /// patch]` f32.
    fn pixels(
        &self,
        pictures: impl Iterator<Item = CandleResult<Tensor>>,
    ) -> Result<Tensor, ModelError> {
        let (tower, _) = self.vision.as_ref().ok_or(ModelError::QueryOnly)?;
        let pixels = pictures.map(|pixels| patches(&pixels?, tower.patch));
        let pixels = pixels.collect::<CandleResult<Vec<_>>>()?;
        if pixels.is_empty() {
            return Err(candle_core::Error::Msg("no pictures".into()).into());
        }
        Ok(Tensor::cat(&pixels, 0)?.to_device(&self.device)?)
    }

    /// Patches of pictures to the rows in `kept` of each sequence.
    fn encode_patches(
        &self,
        pixels: &Tensor,
        ids: &[u32],
        kept: &[&[usize]],
    ) -> Result<Tensor, ModelError> {
        let (tower, projector) = self.vision.as_ref().ok_or(ModelError::QueryOnly)?;
        let (pictures, tokens) = (kept.len(), image_tokens(ids));
        let features = projector.apply(&tower.encode(pixels)?)?;
        let (patches, width) = features.dims2()?;
        if patches != tokens * pictures {
            return Err(candle_core::Error::Msg(format!(
                "{} image tokens for {patches} patches",
                tokens * pictures
            ))
            .into());
        }
        let features = features.reshape((pictures, tokens, width))?;
        let text = self.embedding.rows(&ids[tokens..])?.to_device(&self.device)?;
        let text = text.unsqueeze(0)?.broadcast_as((pictures, ids.len() - tokens, width))?;
        let x = Tensor::cat(&[&features, &text.contiguous()?], 1)?.flatten_to(1)?;
        let x = self.language(x, &vec![ids.len(); pictures], Reach::All)?;
        let kept = kept.iter().enumerate();
        let kept: Vec<u32> =
            kept.flat_map(|(n, at)| at.iter().map(move |at| (n * ids.len() + at) as u32)).collect();
        let kept = Tensor::from_slice(&kept, kept.len(), &self.device)?;
        Ok(self.rows(&x.index_select(&kept, 0)?)?)
    }

    /// As [`CpuModel::encode_texts`], in one batch.
    pub fn encode_texts(&self, texts: &[&[u32]], causal: bool) -> CandleResult<Tensor> {
        let x = self.embedding.rows(&texts.concat())?.to_device(&self.device)?;
        let lengths: Vec<usize> = texts.iter().map(|ids| ids.len()).collect();
        let reach = if causal { Reach::Causal } else { Reach::All };
        self.rows(&self.language(x, &lengths, reach)?)
    }

    /// Runs all layers and the last norm over sequences of these lengths, `[n, hidden]`.
    fn language(&self, mut x: Tensor, lengths: &[usize], reach: Reach) -> CandleResult<Tensor> {
        let positions = lengths.iter().flat_map(|&length| 0..length as u32).collect();
        let angles = angles(&self.device, &[positions], &self.rotations.pairs())?;
        let ends = lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        });
        let attended = Attended::new(&self.device, &ends.collect::<Vec<_>>(), reach)?;
        for layer in &self.layers {
            x = layer.forward(&x, &angles, &attended)?;
        }
        self.norm.apply(&x, self.dtype)
    }

    /// Applies the head to `[n, hidden]`, scales rows to length 1, and brings them to the CPU,
    /// `[n, dim]` f32.
    fn rows(&self, x: &Tensor) -> CandleResult<Tensor> {
        unit_rows(&self.head.apply(x)?, 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pagesight_core::ModelSource;
    #[cfg(feature = "cuda")]
    use pagesight_core::{PageSize, PictureSize, seam::PageEncoder};

    use crate::device::Device;
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
