//! NeoMME on a GPU.

mod layer;

use candle_core::{DType, Device as CandleDevice, Result as CandleResult, Tensor};

use crate::checkpoint::stored::Stored;
use crate::error::ModelError;
use crate::families::engine::OnGpu;
use crate::families::features::places;
use crate::families::neomme::config::{Rotation, Rotations};
use crate::families::neomme::cpu::stem;
use crate::families::neomme::cpu::{CpuModel, LEAST_LENGTH};
use crate::families::neomme::gpu::layer::{Layer, Shared};
use crate::families::neomme::sequence::{Sequence, distinct};
use crate::gpu::attention::{Attended, angles, ends, unit_rows};
use crate::gpu::fused::{self, Activation};
use crate::gpu::norm::LayerNorm;
use crate::gpu::pixels::Cuts;
use crate::gpu::product::{Place, Product};
use crate::gpu::reach::Reach;
use crate::precision::Precision;

/// The whole model.
#[derive(Debug)]
pub struct GpuModel {
    device: CandleDevice,
    /// The type of products.
    dtype: DType,
    /// Token table, `[vocabulary, rank]`. It stays in its file, where rows are looked up.
    words: Stored,
    /// Brings rows of the table to the model's width.
    projection: Product,
    /// What two layers add to values, a row a token; in its file too.
    values: Stored,
    /// `None` when loaded for queries alone.
    stem: Option<Stem>,
    layers: Vec<Layer>,
    eps: f32,
    rotations: Rotations,
    head: Product,
}

/// What brings raw patches to the width of the model.
#[derive(Debug)]
struct Stem {
    norm: LayerNorm,
    up: Product,
    down: Product,
}

impl Stem {
    fn place(place: Place<'_>, stem: &stem::Stem) -> CandleResult<Self> {
        Ok(Self {
            norm: LayerNorm::place(place, &stem.norm)?,
            up: place.product(&stem.up)?,
            down: place.product(&stem.down)?,
        })
    }

    /// Embeds patches, `[patches, 3 * patch * patch]` f32, to `[patches, hidden]` f32.
    fn embed(&self, patches: &Tensor) -> CandleResult<Tensor> {
        let y = self.up.multiply(&self.norm.apply(patches, self.up.weight.dtype())?)?;
        self.down.apply(&fused::activated(&y, None, Activation::ExactGelu)?)
    }
}

impl OnGpu<CpuModel> for GpuModel {
    fn place(
        device: &CandleDevice,
        precision: Precision,
        model: &CpuModel,
    ) -> Result<Self, ModelError> {
        let place = Place::new(device, precision)?;
        let layers = model.layers.iter().map(|layer| Layer::place(place, layer));
        Ok(Self {
            device: device.clone(),
            dtype: place.dtype,
            words: model.words.clone(),
            projection: place.product(&model.projection)?,
            values: model.values.clone(),
            stem: model.stem.as_ref().map(|stem| Stem::place(place, stem)).transpose()?,
            layers: layers.collect::<CandleResult<_>>()?,
            eps: model.config.eps,
            rotations: model.config.rotations,
            head: place.product(&model.head)?,
        })
    }

    fn device(&self) -> &CandleDevice {
        &self.device
    }
}

impl GpuModel {
    /// Whether it was loaded for queries alone.
    pub fn is_query_only(&self) -> bool {
        self.stem.is_none()
    }

    /// Encodes pages, given by their patches and what these are worth, to the vectors of their
    /// positions one after the other, `[sum of positions, dim]` f32.
    ///
    /// # Errors
    /// [`ModelError::QueryOnly`] without what sees pages; [`ModelError::Compute`].
    pub fn encode_pages(
        &self,
        sequences: &[Sequence],
        cuts: &Cuts<'_>,
        worth: &[Vec<f32>; 3],
    ) -> Result<Tensor, ModelError> {
        let stem = self.stem.as_ref().ok_or(ModelError::QueryOnly)?;
        let features = stem.embed(&cuts.patches(&self.device, worth, DType::F32)?)?;
        Ok(self.encode(sequences, Some(features))?)
    }

    /// Encodes texts to their vectors one after the other, `[sum of positions, dim]` f32.
    pub fn encode_texts(&self, texts: &[Sequence]) -> CandleResult<Tensor> {
        self.encode(texts, None)
    }

    /// Encodes sequences, of which `features`, `[patches, hidden]` f32, are the embedded patches.
    fn encode(&self, sequences: &[Sequence], features: Option<Tensor>) -> CandleResult<Tensor> {
        let (ids, which) = distinct(sequences);
        let mut embedded = vec![self.projection.apply(&self.rows_of(&self.words, &ids)?)?];
        // Rows of features come after those of tokens.
        let mut from = which.clone();
        if let Some(features) = features {
            let of_features =
                places(sequences.iter().map(|s| (s.ids.len(), s.patches.iter().copied())));
            let of_features: Vec<usize> = of_features.collect();
            if of_features.len() != features.dim(0)? {
                let got = features.dim(0)?;
                candle_core::bail!("{got} features for {} places", of_features.len())
            }
            of_features.into_iter().zip(ids.len() as u32..).for_each(|(at, n)| from[at] = n);
            embedded.push(features);
        }
        let x = Tensor::cat(&embedded, 0)?.index_select(&self.index(&from)?, 0)?;
        let mut x = fused::root_norm(&x, None, self.eps, DType::F32)?;
        let values = self.rows_of(&self.values, &ids)?.index_select(&self.index(&which)?, 0)?;
        let shared = self.shared(sequences, x.clone(), values)?;
        for layer in &self.layers {
            x = layer.forward(&x, &shared)?;
        }
        let x = fused::root_norm(&x, None, self.eps, self.dtype)?;
        unit_rows(&self.head.apply(&x)?, LEAST_LENGTH.into())
    }

    /// Rows of a table that lies in its file, on the GPU.
    fn rows_of(&self, table: &Stored, ids: &[u32]) -> CandleResult<Tensor> {
        table.rows(ids)?.to_device(&self.device)
    }

    fn index(&self, rows: &[u32]) -> CandleResult<Tensor> {
        Tensor::from_slice(rows, rows.len(), &self.device)
    }

    fn shared(
        &self,
        sequences: &[Sequence],
        input: Tensor,
        values: Tensor,
    ) -> CandleResult<Shared> {
        let axes = [
            sequences.iter().flat_map(|s| s.rows.iter().copied()).collect(),
            sequences.iter().flat_map(|s| s.columns.iter().copied()).collect(),
        ];
        let angles = |rotation: Rotation| angles(&self.device, &axes, &rotation.pairs());
        let lengths: Vec<usize> = sequences.iter().map(|s| s.ids.len()).collect();
        let ends = ends(&lengths);
        let mut attended: Vec<(Reach, Attended)> = Vec::new();
        for reach in self.layers.iter().map(Layer::reach) {
            if !attended.iter().any(|(other, _)| *other == reach) {
                attended.push((reach, Attended::new(&self.device, &ends, reach)?));
            }
        }
        Ok(Shared {
            input,
            values,
            full: angles(self.rotations.full)?,
            sliding: angles(self.rotations.sliding)?,
            attended,
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device as CandleDevice;

    use crate::checkpoint::Checkpoint;
    use crate::families::neomme::model;
    use crate::families::testing::{a_gpu_gives_the_same, at, fixture};
    use crate::precision::Precision;

    fn check(device: &CandleDevice) {
        let least = [(Precision::Bf16, 0.999), (Precision::Q8, 0.998)];
        a_gpu_gives_the_same(
            device,
            &fixture("neomme").join("hf"),
            |folder, options| model::load(&Checkpoint::open(&at(folder), options)?, options),
            |network| &mut network.engine,
            &least,
        );
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
