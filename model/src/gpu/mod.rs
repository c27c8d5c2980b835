//! The parts of models on a GPU, with operations of candle.
//!
//! What the kernels in [`blocks`](crate::blocks) do on the CPU is done here to batches: the
//! positions of all sequences lie one after the other, `[n, width]`, so that only attention and
//! delta nets know where a sequence ends. Products are in the type of the precision (cuBLAS sums
//! them in f32), everything else in f32: norms, rotations, softmax, activations and what the layers
//! add to. What lies between two products is one pass over memory ([`fused`]). Inputs go up and
//! vectors come down; between the two nothing leaves the GPU. Quantized weights are widened to bf16
//! on the way up: a GPU is chosen for its speed, and there are no integer products for it here.

pub mod attention;
pub mod cache;
pub mod decoder;
pub mod delta;
pub mod fused;
#[cfg(feature = "cuda")]
pub mod kernels;
pub mod norm;
pub mod pixels;
pub mod product;
pub mod reach;
pub mod siglip;

use candle_core::Device as CandleDevice;

use crate::device::Device;
use crate::error::ModelError;

/// Opens the GPU that `device` asks for; `None` for the CPU, and for [`Device::Auto`] where no GPU
/// answers.
///
/// # Errors
/// [`ModelError::DeviceNotBuilt`] and [`ModelError::Device`] for a GPU asked for by name.
pub fn open(device: Device) -> Result<Option<CandleDevice>, ModelError> {
    let open = |device: Device| -> Result<CandleDevice, ModelError> {
        if !device.is_built_in() {
            return Err(ModelError::DeviceNotBuilt { device });
        }
        let gpu = match device {
            Device::Cuda => CandleDevice::new_cuda(0),
            _ => CandleDevice::new_metal(0),
        };
        gpu.map_err(|source| ModelError::Device { device, source: Box::new(source) })
    };
    match device {
        Device::Cpu => Ok(None),
        Device::Cuda | Device::Metal => open(device).map(Some),
        Device::Auto => Ok([Device::Cuda, Device::Metal].into_iter().find_map(|d| open(d).ok())),
    }
}

/// The device that a model runs on which is loaded for `device`: of [`Device::Auto`] a GPU where one
/// answers, else the CPU. It opens the GPU, which takes a part of a second.
///
/// # Errors
/// [`ModelError::DeviceNotBuilt`] and [`ModelError::Device`] for a GPU asked for by name.
///
/// ```
/// use pagesight_model::{Device, device_in_use};
/// assert_eq!(device_in_use(Device::Cpu)?, Device::Cpu);
/// assert_ne!(device_in_use(Device::Auto)?, Device::Auto);
/// # Ok::<(), pagesight_model::ModelError>(())
/// ```
pub fn device_in_use(device: Device) -> Result<Device, ModelError> {
    Ok(open(device)?.as_ref().map_or(Device::Cpu, device_of))
}

/// The [`Device`] that a device of candle is.
pub fn device_of(device: &CandleDevice) -> Device {
    match device {
        CandleDevice::Cpu => Device::Cpu,
        CandleDevice::Cuda(_) => Device::Cuda,
        CandleDevice::Metal(_) => Device::Metal,
    }
}
