//! What does the arithmetic of a model: the CPU, or a GPU.

use candle_core::Device as CandleDevice;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::weights::Weights;
use crate::device::Device;
use crate::error::ModelError;
use crate::gpu::device_of;
use crate::precision::Precision;

/// A model of a family: `C` on the CPU, `G` on a GPU.
#[derive(Debug)]
pub enum Engine<C, G> {
    /// The kernels of this crate, over weights where they lie in their files.
    Cpu(Box<C>),
    /// Operations of candle, over weights in the memory of a GPU.
    Gpu(Box<G>),
}

/// A model on a GPU, made of `C`, the same model on the CPU.
pub trait OnGpu<C>: Sized {
    /// Brings the weights of `model` to `device`.
    ///
    /// # Errors
    /// [`ModelError::Compute`], e.g. when its memory is too small.
    fn place(device: &CandleDevice, precision: Precision, model: &C) -> Result<Self, ModelError>;

    /// Where it is.
    fn device(&self) -> &CandleDevice;
}

impl<C, G: OnGpu<C>> Engine<C, G> {
    /// Lets `take` make the model of `weights`, and brings it to `device` where there is one.
    ///
    /// # Errors
    /// Those of `take` and of [`OnGpu::place`]; [`ModelError::Setting`] for a GPU and an adapter
    /// that is kept apart.
    pub fn take(
        device: Option<CandleDevice>,
        checkpoint: &Checkpoint,
        precision: Precision,
        mut weights: Weights,
        take: impl FnOnce(Weights) -> Result<C, ModelError>,
    ) -> Result<Self, ModelError> {
        let Some(device) = device else { return Ok(Self::Cpu(Box::new(take(weights)?))) };
        if weights.has_adapter_apart() {
            return Err(ModelError::Setting {
                path: checkpoint.files().shown(),
                key: "adapter".into(),
                expected: "merged, on a GPU".into(),
                got: "apart".into(),
            });
        }
        // A GPU has instructions for bf16.
        weights.forbid_whole_numbers();
        Ok(Self::Gpu(Box::new(G::place(&device, precision, &take(weights)?)?)))
    }

    /// Where it runs; never [`Device::Auto`].
    pub fn device(&self) -> Device {
        match self {
            Self::Cpu(_) => Device::Cpu,
            Self::Gpu(gpu) => device_of(gpu.device()),
        }
    }

    /// Whether several inputs at once are faster than one after the other: on a GPU, since a core
    /// of the CPU keeps the activations of one in its caches.
    pub fn is_faster_with_several(&self) -> bool {
        matches!(self, Self::Gpu(_))
    }

    /// The model on the CPU; `None` when a GPU has it.
    pub fn cpu(&self) -> Option<&C> {
        match self {
            Self::Cpu(cpu) => Some(cpu),
            Self::Gpu(_) => None,
        }
    }
}
