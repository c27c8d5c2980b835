//! PaliGemma on a GPU.

use candle_core::{D, DType, Device as CandleDevice, Result as CandleResult, Tensor};

use crate::answerer::cpu::CpuModel;
use crate::answerer::sequences::{Begun, Sequences};
use crate::error::ModelError;
use crate::families::colpali::cpu::language::{Embedding, Rotations};
use crate::families::colpali::gpu::language::{Layer, place_norm};
use crate::families::colpali::preprocess::patches;
use crate::families::engine::OnGpu;
use crate::gpu::attention::{Attended, angles};
use crate::gpu::cache::Cache;
use crate::gpu::norm::RootNorm;
use crate::gpu::product::{Place, Product};
use crate::gpu::reach::Reach;
use crate::gpu::siglip::Tower;
use crate::precision::Precision;

/// The vision tower, the projector behind it, the language model and the output layer.
#[derive(Debug)]
pub struct GpuModel {
    device: CandleDevice,
    /// The type of products.
    dtype: DType,
    tower: Tower,
    projector: Product,
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: RootNorm,
    output: Product,
    rotations: Rotations,
}

impl OnGpu<CpuModel> for GpuModel {
    fn place(
        device: &CandleDevice,
        precision: Precision,
        model: &CpuModel,
    ) -> Result<Self, ModelError> {
        let place = Place::new(device, precision)?;
        let language = &model.language;
        let layers = language.layers.iter().map(|layer| Layer::place(place, layer));
        Ok(Self {
            device: device.clone(),
            dtype: place.dtype,
            tower: Tower::place(place, &model.vision)?,
            projector: place.product(&model.projector)?,
            embedding: language.embedding().clone(),
            layers: layers.collect::<CandleResult<_>>()?,
            norm: place_norm(place, &language.norm)?,
            output: place.product(&model.output)?,
            rotations: language.rotations(),
        })
    }

    fn device(&self) -> &CandleDevice {
        &self.device
    }
}

impl GpuModel {
    /// The angles of positions.
    fn angles(&self, positions: Vec<u32>) -> CandleResult<Tensor> {
        angles(&self.device, &[positions], &self.rotations.pairs())
    }

    /// The logits of positions that went through all layers, `[n, hidden]` f32, before the bound.
    fn logits(&self, x: &Tensor) -> CandleResult<Vec<Vec<f32>>> {
        self.output.apply(&self.norm.apply(x, self.dtype)?)?.to_vec2()
    }

    /// The input of the language model for a picture and ids whose image tokens come first, `[n,
    /// hidden]` f32. Features are not scaled, rows of tokens are.
    fn input(&self, pixels: &Tensor, ids: &[u32]) -> CandleResult<Tensor> {
        let pixels = patches(pixels, self.tower.patch)?.to_device(&self.device)?;
        let features = self.projector.apply(&self.tower.encode(&pixels)?)?;
        let text = self.embedding.rows(&ids[features.dim(0)?..])?.to_device(&self.device)?;
        Tensor::cat(&[features, text], 0)
    }
}

impl Sequences for GpuModel {
    type Caches = Vec<Cache>;

    fn begin(&self, pixels: &Tensor, ids: &[u32]) -> Result<Begun<Vec<Cache>>, ModelError> {
        let mut x = self.input(pixels, ids)?;
        let n = x.dim(0)?;
        let angles = self.angles((0..n as u32).collect())?;
        let attended = Attended::new(&self.device, &[n], Reach::All)?;
        let mut caches = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let (more, cache) = layer.prefill(&x, &angles, &attended)?;
            x = more;
            caches.push(cache);
        }
        // The last position alone is asked for what follows.
        let logits = self.logits(&x.narrow(D::Minus2, n - 1, 1)?)?;
        Ok(Begun { caches, logits: logits.into_iter().flatten().collect() })
    }

    fn step(
        &self,
        sequences: &mut [&mut Vec<Cache>],
        ids: &[u32],
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let positions = sequences.iter().map(|caches| caches.first().map_or(0, Cache::length));
        let angles = self.angles(positions.map(|position| position as u32).collect())?;
        let mut x = self.embedding.rows(ids)?.to_device(&self.device)?;
        for (n, layer) in self.layers.iter().enumerate() {
            let mut caches: Vec<&mut Cache> =
                sequences.iter_mut().map(|caches| &mut caches[n]).collect();
            x = layer.step(&x, &angles, &mut caches)?;
        }
        Ok(self.logits(&x)?)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use pagesight_core::{ModelSource, PageImage};

    use super::*;
    use crate::answerer::decoding::{Choice, Decoding};
    use crate::answerer::paligemma::PaliGemma;
    use crate::answerer::sampling::Sampling;
    use crate::device::Device;
    use crate::options::LoadOptions;

    /// Of PaliGemma 1, and of PaliGemma 2 with its bounds and more norms.
    const MODELS: [&str; 2] = ["pg1-112", "pg2-56"];

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/parity-paligemma").join(name)
    }

    fn load(name: &str, precision: Precision) -> PaliGemma {
        let options = LoadOptions {
            precision: Some(precision),
            device: Device::Cpu,
            ..LoadOptions::default()
        };
        PaliGemma::load(&ModelSource::Folder(fixture(name)), &options).unwrap()
    }

    fn pages() -> Vec<PageImage> {
        let page = |n: usize| {
            let picture = image::open(fixture(&format!("images/image{n}.png"))).unwrap().to_rgb8();
            let (width, height) = picture.dimensions();
            PageImage::new(width, height, picture.into_raw()).unwrap()
        };
        (0..3).map(page).collect()
    }

    fn furthest(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    /// On candle's CPU device, so that it runs everywhere: the same operations as on a GPU.
    #[test]
    fn candles_operations_write_what_our_kernels_write() {
        check(&CandleDevice::Cpu, 1e-4);
    }

    #[cfg(feature = "cuda")]
    #[test]
    #[ignore = "needs a GPU of NVIDIA: make cuda-test"]
    fn a_gpu_of_nvidia_writes_what_our_kernels_write() {
        check(&CandleDevice::new_cuda(0).unwrap(), 1e-3);
    }

    /// `apart`: how far logits in f32 may lie from the CPU's.
    fn check(device: &CandleDevice, apart: f32) {
        let pages = pages();
        for name in MODELS {
            let model = load(name, Precision::F32);
            let side = model.config.vlm_config.vision_config.side();
            let task = "ocr".parse().unwrap();
            let ids = model.tokens.prompt(side * side, &task).unwrap();
            let gpu = GpuModel::place(device, Precision::F32, model.cpu()).unwrap();
            // The logits of what follows, and of each token of two texts that go on together.
            let begun = |page| {
                let pixels = model.pixels(page).unwrap();
                [
                    model.cpu().begin(&pixels, &ids).unwrap().logits,
                    gpu.begin(&pixels, &ids).unwrap().logits,
                ]
            };
            for page in &pages {
                let [ours, theirs] = begun(page);
                assert!(furthest(&ours, &theirs) < apart, "{name}: {}", furthest(&ours, &theirs));
            }
            let pixels = [0, 1].map(|n| model.pixels(&pages[n]).unwrap());
            let mut ours = pixels.each_ref().map(|p| model.cpu().begin(p, &ids).unwrap().caches);
            let mut theirs = pixels.each_ref().map(|p| gpu.begin(p, &ids).unwrap().caches);
            for step in 0..3u32 {
                let ids = [7 + 31 * step, 400 - 13 * step];
                let ours = model.cpu().step(&mut ours.each_mut(), &ids).unwrap();
                let theirs = gpu.step(&mut theirs.each_mut(), &ids).unwrap();
                let far = furthest(&ours.concat(), &theirs.concat());
                assert!(far < apart, "{name}, step {step}: {far}");
            }
            // Texts, however their tokens are chosen, of one page and of several. A drawn text
            // follows the last bits of its probabilities, so it is compared in f32 alone.
            let drawn = Sampling { temperature: 2.5, seed: 4, ..Sampling::default() };
            let all: Vec<&PageImage> = pages.iter().collect();
            for (precision, choice, count) in [
                (Precision::F32, Choice::Greedy, 3),
                (Precision::F32, Choice::Beams(3), 1),
                (Precision::F32, Choice::Sampling(drawn), 1),
                (Precision::Bf16, Choice::Greedy, 2),
            ] {
                let model = load(name, precision);
                let other = model.placed(device);
                assert_eq!(other.device(), crate::gpu::device_of(device));
                let decoding = Decoding::GREEDY.with_choice(choice).with_most_tokens(8);
                let task = "detect table ; chart".parse().unwrap();
                let ours = model.write_all(&all[..count], &task, decoding).unwrap();
                let theirs = other.write_all(&all[..count], &task, decoding).unwrap();
                for (ours, theirs) in ours.iter().zip(&theirs) {
                    assert_eq!(ours.ids, theirs.ids, "{name} {precision} {choice:?}");
                    let far = furthest(&ours.probabilities, &theirs.probabilities);
                    let most = if precision == Precision::F32 { apart } else { 0.1 };
                    assert!(far < most, "{name} {precision} {choice:?}: {far}");
                }
            }
        }
    }
}
