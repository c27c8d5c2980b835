//! ColModernVBERT and ColSmol on a GPU.

mod modern;

use candle_core::{DType, Device as CandleDevice, Result as CandleResult, Tensor};

use crate::error::ModelError;
use crate::families::engine::OnGpu;
use crate::families::features::{places, sources};
use crate::families::idefics3::cpu::{self, CpuModel, counted};
use crate::families::idefics3::gpu::modern::Modern;
use crate::families::idefics3::sequence::Sequence;
use crate::gpu::attention::unit_rows;
use crate::gpu::decoder::Decoder;
use crate::gpu::pixels::Cuts;
use crate::gpu::product::{Place, Product};
use crate::gpu::siglip::Tower;
use crate::precision::Precision;

/// The vision tower, what is behind it, the language model and the head.
#[derive(Debug)]
pub struct GpuModel {
    device: CandleDevice,
    /// The type of products.
    dtype: DType,
    /// The tower and the connector; `None` when loaded for queries alone.
    vision: Option<(Tower, Product)>,
    text: Text,
    head: Product,
    /// Patches along each side of a feature.
    shuffle: usize,
}

/// The two language models.
// One a model, which stays where it is.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
enum Text {
    Modern(Modern),
    Llama(Decoder),
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
            let (tower, connector) = model.vision()?;
            Some((Tower::place(place, tower)?, place.product(connector)?))
        };
        let text = match &model.text {
            cpu::Text::Modern(modern) => Text::Modern(Modern::place(place, modern)?),
            cpu::Text::Llama(decoder) => Text::Llama(Decoder::place(place, decoder)?),
        };
        Ok(Self {
            device: device.clone(),
            dtype: place.dtype,
            vision,
            text,
            head: place.product(&model.head)?,
            shuffle: model.shuffle,
        })
    }

    fn device(&self) -> &CandleDevice {
        &self.device
    }
}

impl GpuModel {
    /// Whether it was loaded for queries alone.
    pub fn is_query_only(&self) -> bool {
        self.vision.is_none()
    }

    /// Encodes pages to the vectors of their positions one after the other, `[sum of positions,
    /// dim]` f32. `cuts` are the patches of the tiles of all pages; `worth` is what their bytes
    /// become.
    ///
    /// # Errors
    /// [`ModelError::QueryOnly`] without the vision tower; [`ModelError::Compute`].
    pub fn encode_pages(
        &self,
        sequences: &[Sequence],
        cuts: &Cuts<'_>,
        worth: &[Vec<f32>; 3],
    ) -> Result<Tensor, ModelError> {
        let (tower, connector) = self.vision.as_ref().ok_or(ModelError::QueryOnly)?;
        let seen = tower.encode(&cuts.patches(&self.device, worth, self.dtype)?)?;
        let features = connector.apply(&joined(&seen, tower.patches()?, self.shuffle)?)?;
        Ok(self.encode(sequences, Some(features))?)
    }

    /// Encodes texts to their vectors one after the other, `[sum of positions, dim]` f32.
    pub fn encode_texts(&self, texts: &[Sequence]) -> CandleResult<Tensor> {
        self.encode(texts, None)
    }

    /// Encodes sequences that have `features`, `[features of all sequences, hidden]` f32.
    fn encode(&self, sequences: &[Sequence], features: Option<Tensor>) -> CandleResult<Tensor> {
        let ids: Vec<u32> = sequences.iter().flat_map(|s| s.ids.iter().copied()).collect();
        let lengths: Vec<usize> = sequences.iter().map(|s| s.ids.len()).collect();
        if ids.is_empty() {
            let dim = self.head.weight.dim(0)?;
            return Tensor::zeros((0, dim), DType::F32, &CandleDevice::Cpu);
        }
        let places = places(sequences.iter().map(|s| (s.ids.len(), s.features())));
        let count = features.as_ref().map_or(Ok(0), |features| features.dim(0))?;
        let (tokens, rows) = sources(&ids, places, count)?;
        let words = match &self.text {
            Text::Modern(model) => model.embed(&tokens)?,
            Text::Llama(model) => model.embed(&tokens)?,
        };
        let rows = Tensor::from_slice(&rows, rows.len(), &self.device)?;
        let x = match features {
            Some(features) => Tensor::cat(&[words, features], 0)?,
            None => words,
        };
        let x = x.index_select(&rows, 0)?;
        let x = match &self.text {
            Text::Modern(model) => model.encode(&x, &lengths)?,
            Text::Llama(model) => model.encode(x, &lengths, &[counted(&lengths)])?,
        };
        unit_rows(&self.head.apply(&x)?, 0.0)
    }
}

/// The patches of tiles, `[tiles * n_patches, width]`, of which each tile is a square, joined in
/// blocks of `factor` x `factor`: block by block row by row, and in a block patch by patch row by
/// row.
fn joined(seen: &Tensor, n_patches: usize, factor: usize) -> CandleResult<Tensor> {
    let (n, width) = seen.dims2()?;
    let blocks = n_patches.isqrt() / factor;
    let rows_of_blocks = n / n_patches * blocks;
    seen.reshape((rows_of_blocks, factor, blocks, factor * width))?
        .transpose(1, 2)?
        .contiguous()?
        .reshape((rows_of_blocks * blocks, factor * factor * width))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::families::idefics3::model;
    use crate::families::testing::{a_gpu_gives_the_same, at, fixture};

    fn check(device: &CandleDevice) {
        // Random weights make much of what is rounded; these are the bounds of the CPU.
        let least = [(Precision::Bf16, 0.995), (Precision::Q8, 0.99)];
        for (family, layout) in [("colmodernvbert", "hf"), ("colsmol", "engine")] {
            a_gpu_gives_the_same(
                device,
                &fixture(family).join(layout),
                |folder, options| model::load(&Checkpoint::open(&at(folder), options)?, options),
                |network| &mut network.engine,
                &least,
            );
        }
    }

    /// On candle's CPU device, so that it runs everywhere: the same operations as on a GPU.
    #[test]
    fn candles_operations_give_the_vectors_of_our_kernels() {
        check(&CandleDevice::Cpu);
    }

    #[cfg(feature = "cuda")]
    #[test]
    #[ignore = "needs a GPU of NVIDIA: make cuda-test"]
    fn a_gpu_of_nvidia_gives_the_vectors_of_our_kernels() {
        check(&CandleDevice::new_cuda(0).unwrap());
    }

    #[test]
    fn blocks_are_joined_row_by_row() {
        // Two tiles of 4 x 4 patches, of which each has its number.
        let rows: Vec<f32> = (0..32).map(|n| n as f32).collect();
        let seen = Tensor::from_vec(rows, (32, 1), &CandleDevice::Cpu).unwrap();
        let joined = joined(&seen, 16, 2).unwrap();
        assert_eq!(joined.dims(), [8, 4]);
        let first = [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15];
        let expected: Vec<f32> =
            first.iter().chain(&first.map(|n| n + 16)).map(|&n| n as f32).collect();
        assert_eq!(joined.flatten_all().unwrap().to_vec1::<f32>().unwrap(), expected);
    }
}
