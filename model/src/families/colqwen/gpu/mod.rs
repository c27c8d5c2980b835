//! ColQwen on a GPU.

mod vision;

use std::borrow::Cow;

use candle_core::{DType, Device as CandleDevice, Result as CandleResult, Tensor};
use pagesight_core::PageImage;

use crate::error::ModelError;
use crate::families::colqwen::cpu::CpuModel;
use crate::families::colqwen::gpu::vision::Vision;
use crate::families::colqwen::pictures::place;
use crate::families::colqwen::sequence::{Grid, Sequence};
use crate::families::colqwen::windows::Windows;
use crate::families::engine::OnGpu;
use crate::families::features::{places, sources};
use crate::gpu::attention::unit_rows;
use crate::gpu::decoder::Decoder;
use crate::gpu::pixels::{Cuts, Order};
use crate::gpu::product::{Place, Product};
use crate::precision::Precision;

/// The vision tower, the language model and the head.
#[derive(Debug)]
pub struct GpuModel {
    device: CandleDevice,
    /// The type of products.
    dtype: DType,
    /// `None` when loaded for queries alone.
    vision: Option<Vision>,
    text: Decoder,
    /// The part of the head that gives the numbers that are kept.
    head: Product,
}

impl OnGpu<CpuModel> for GpuModel {
    fn place(
        device: &CandleDevice,
        precision: Precision,
        model: &CpuModel,
    ) -> Result<Self, ModelError> {
        let place = Place::new(device, precision)?;
        let vision = model.vision.as_ref().map(|vision| Vision::place(place, vision));
        Ok(Self {
            device: device.clone(),
            dtype: place.dtype,
            vision: vision.transpose()?,
            text: Decoder::place(place, &model.text)?,
            head: place.product(&model.head.part(0..model.dim))?,
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
    /// dim]` f32. Bytes of their pictures are `worth` so much, 256 numbers a channel.
    ///
    /// # Errors
    /// [`ModelError::QueryOnly`] without the vision tower; [`ModelError::Compute`].
    pub fn encode_pages(
        &self,
        pages: &[PageImage],
        grids: &[Grid],
        sequences: &[Sequence],
        worth: &[Vec<f32>; 3],
    ) -> Result<Tensor, ModelError> {
        let vision = self.vision.as_ref().ok_or(ModelError::QueryOnly)?;
        let patch = vision.config.patch;
        let windows = grids.iter().map(|grid| Windows::of(&vision.config.kind, *grid));
        let windows: Vec<Windows> = windows.collect();
        let mut cuts = Cuts::new(patch, Order::ChannelByChannel);
        for ((page, grid), windows) in pages.iter().zip(grids).zip(&windows) {
            let places = windows.order.iter().map(|&number| place(number, *grid));
            let corners = places.map(|(row, column)| [row * patch, column * patch]);
            cuts.add(Cow::Borrowed(page), corners);
        }
        let patches = cuts.patches(&self.device, worth, self.dtype)?;
        let features = vision.encode(&patches, grids, &windows)?;
        let of_pages = sequences.iter().zip(&windows).map(|(sequence, windows)| {
            let features = windows.features().map(|number| sequence.first_feature + number);
            (sequence.ids.len(), features)
        });
        Ok(self.encode(sequences, places(of_pages), Some(features))?)
    }

    /// Encodes texts to their vectors one after the other, `[sum of positions, dim]` f32.
    pub fn encode_texts(&self, texts: &[Sequence]) -> CandleResult<Tensor> {
        self.encode(texts, std::iter::empty(), None)
    }

    /// Encodes sequences that have `features`, `[features of all sequences, hidden]` f32, at
    /// `places`.
    fn encode(
        &self,
        sequences: &[Sequence],
        places: impl Iterator<Item = usize>,
        features: Option<Tensor>,
    ) -> CandleResult<Tensor> {
        let ids: Vec<u32> = sequences.iter().flat_map(|s| s.ids.iter().copied()).collect();
        let count = features.as_ref().map_or(Ok(0), |features| features.dim(0))?;
        let (tokens, rows) = sources(&ids, places, count)?;
        let rows = Tensor::from_slice(&rows, rows.len(), &self.device)?;
        let words = self.text.embed(&tokens)?;
        let x = match features {
            Some(features) => Tensor::cat(&[words, features], 0)?,
            None => words,
        };
        let x = x.index_select(&rows, 0)?;
        let lengths: Vec<usize> = sequences.iter().map(|sequence| sequence.ids.len()).collect();
        let axes: [Vec<u32>; 3] = std::array::from_fn(|axis| {
            sequences.iter().flat_map(|s| s.positions[axis].iter().copied()).collect()
        });
        let x = self.text.encode(x, &lengths, &axes)?;
        unit_rows(&self.head.apply(&x)?, 0.0)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device as CandleDevice;

    use crate::checkpoint::Checkpoint;
    use crate::families::colqwen::model;
    use crate::families::testing::{a_gpu_gives_the_same, at, fixture};
    use crate::precision::Precision;

    fn check(device: &CandleDevice) {
        // The windows, the towers without windows, and the one with learned positions.
        // As on the CPU, 16 bits cost most where the delta nets of random weights make rounding
        // larger: the reference itself in bf16 has 0.986.
        for (family, [bf16, q8]) in [
            ("colqwen2.5", [0.999, 0.997]),
            ("colqwen2", [0.999, 0.997]),
            ("colqwen3.5", [0.99, 0.97]),
        ] {
            a_gpu_gives_the_same(
                device,
                &fixture(family).join("engine"),
                |folder, options| model::load(&Checkpoint::open(&at(folder), options)?, options),
                |network| &mut network.engine,
                &[(Precision::Bf16, bf16), (Precision::Q8, q8)],
            );
        }
    }

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
}
